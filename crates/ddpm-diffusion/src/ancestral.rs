//! Ancestral sampling: algorithm 2 of Ho et al. 2020.

use std::ops::ControlFlow;

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::error::{batch, check_shape};
use crate::{Denoiser, DiffusionError, GaussianDiffusion, MeanForm, SamplerConfig};

/// Where a sampling is, told after every step.
#[derive(Debug)]
pub struct Progress<'a> {
    /// Steps taken, from 1.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// How many steps of the schedule the network was trained with are still before x_0: 0 after the last step.
    pub time_left: usize,
    /// x at this point, [image, channel, height, width].
    pub x: &'a Tensor,
}

/// What a sampling came to.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// x_0.
    Finished(Tensor),
    /// The callback stopped it: x as it was then.
    Stopped(Tensor),
}

/// Draws images from p_θ: x_{t−1} = μ_θ(x_t, t) + σ_t z for t from the last step to the first, where the last draw is the
/// mean alone (Ho et al. 2020, algorithm 2).
///
/// z is the next draw of each image's own stream, so an image does not depend on the others of its batch. Where
/// `config.steps` is fewer than the schedule has, the steps are a respaced subset (Nichol & Dhariwal 2021, section 4).
/// `on_step` may stop the sampling after any step.
///
/// # Shapes
/// `x_T` [image, channel, height, width] with as many images as `noise` has streams.
///
/// # Errors
/// When the steps are more than the schedule's, the images are not as many as the streams, a step has no signal
/// ([`DiffusionError::NoSignal`]), or the denoiser fails.
#[allow(non_snake_case, reason = "x_T is the papers' symbol")]
pub fn sample(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    config: &SamplerConfig,
    x_T: &Tensor,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(Progress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    check_shape("x_T", batch(x_T), &[noise.images()])?;
    let walk = GaussianDiffusion::new(diffusion.schedule().respaced(config.steps, config.spacing)?);
    let schedule = walk.schedule();
    let mut x = x_T.clone();

    for i in (0..config.steps).rev() {
        let t = vec![i; noise.images()];
        // Detached: a denoiser over variables would otherwise keep the activations of every step until the last.
        let eps_hat = denoiser.predict(&x, &walk.network_time(&t, x.device())?)?.detach();

        // The mean: eq. 11, or eq. 7 at the clipped x̂_0.
        let mean = match config.mean {
            MeanForm::Epsilon => walk.model_mean(&x, &t, &eps_hat)?,
            MeanForm::ClippedX0 => {
                let x_0 = walk.predict_x0(&x, &t, &eps_hat)?.clamp(-1.0, 1.0)?;
                walk.q_posterior(&x_0, &x, &t)?.mean
            }
        };

        // σ_t z; none at the first index, which leads to x_0.
        x = if i == 0 {
            mean
        } else {
            let z = noise.draw(&x.dims()[1..], x.device())?.to_dtype(x.dtype())?;
            (mean + (z * schedule.variance(config.variance, i).sqrt())?)?
        };

        let time_left = if i == 0 { 0 } else { schedule.timestep(i - 1) + 1 };
        let progress = Progress { done: config.steps - i, steps: config.steps, time_left, x: &x };
        if on_step(progress).is_break() && i > 0 {
            return Ok(Sampling::Stopped(x));
        }
    }
    Ok(Sampling::Finished(x))
}
