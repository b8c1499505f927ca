//! How the loss terms of different timesteps are weighted against each other.

use std::fmt::Debug;

use crate::GaussianDiffusion;

/// The weight w(t) that multiplies the squared error of an image at timestep t in [`WeightedSquaredError`].
///
/// The weight refers to the error of the network's own output: ε̂, x̂_0 or v̂, as [`GaussianDiffusion::prediction`]
/// says. The trainer accepts any implementation, so that a weighting from another crate needs no change here.
///
/// # Examples
/// Min-SNR-γ weighting (Hang et al. 2023, section 3.4). Its weight for the error of x̂_0 is min(SNR, γ), and an error
/// of ε̂ is √SNR times as large as the error of x̂_0 that follows from it:
/// ```
/// use ddpm_diffusion::{GaussianDiffusion, LossWeighting};
/// use ddpm_schedule::{BetaSchedule, Prediction, Schedule};
///
/// #[derive(Debug)]
/// struct MinSnr {
///     gamma: f64,
/// }
///
/// impl LossWeighting for MinSnr {
///     fn weight(&self, diffusion: &GaussianDiffusion, t: usize) -> f64 {
///         let snr = diffusion.schedule().snr(t);
///         match diffusion.prediction() {
///             Prediction::Epsilon => (self.gamma / snr).min(1.0),
///             Prediction::X0 => self.gamma.min(snr),
///             Prediction::V => self.gamma.min(snr) / (snr + 1.0),
///         }
///     }
/// }
///
/// let diffusion = GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000)?);
/// let weighting = MinSnr { gamma: 5.0 };
/// assert!(weighting.weight(&diffusion, 0) < 1e-3);
/// assert_eq!(weighting.weight(&diffusion, 999), 1.0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`WeightedSquaredError`]: crate::WeightedSquaredError
pub trait LossWeighting: Debug {
    /// w(t) of the timestep with index `t` in the schedule of `diffusion`: finite and at least 0.
    fn weight(&self, diffusion: &GaussianDiffusion, t: usize) -> f64;
}

/// The same weight, 1, for every timestep: L_simple (Ho et al. 2020, eq. 14) where the network predicts ε.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UniformWeighting;

impl LossWeighting for UniformWeighting {
    fn weight(&self, _: &GaussianDiffusion, _: usize) -> f64 {
        1.0
    }
}
