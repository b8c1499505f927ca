//! The interface between the diffusion process and a network.

use candle_core::{Result, Tensor};

/// A network that predicts ε, x_0 or v from a noisy image and its timestep.
///
/// Which of the three it predicts is a property of the [`GaussianDiffusion`](crate::GaussianDiffusion) that it is used
/// with. Closures with the signature of [`predict`](Self::predict) implement the trait.
///
/// # Examples
/// ```
/// use candle_core::{Result, Tensor};
/// use ddpm_diffusion::Denoiser;
///
/// // Predicts that x_t contains no noise.
/// let zero = |x_t: &Tensor, _t: &Tensor| -> Result<Tensor> { x_t.zeros_like() };
/// # let _: &dyn Denoiser = &zero;
/// ```
pub trait Denoiser {
    /// The prediction of the network at x_t: ε_θ(x_t, t), or predicted x_0 or v.
    ///
    /// # Shapes
    /// `x_t` [batch, channel, height, width]. `t` `[batch]`, f32, on the CPU even if `x_t` is on another device:
    /// indices, from 0, into the schedule that the network was trained with.
    ///
    /// The result has the shape of `x_t`. A network with a learned variance returns twice the channels, with the
    /// variance in the second half (see [`ReverseVariance`](crate::ReverseVariance)).
    ///
    /// # Errors
    /// The errors of the network.
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> Result<Tensor>;

    /// The prediction for images of given classes: ε_θ(x_t, t, c).
    ///
    /// [`GuidedDenoiser`](crate::GuidedDenoiser) turns a network with this method into a denoiser of fixed classes,
    /// which can be sampled.
    ///
    /// # Shapes
    /// As for [`Denoiser::predict`]. `labels` `[batch]`, u32, on the CPU: the class of each image.
    ///
    /// # Errors
    /// The errors of the network; by default, that it is not conditioned on classes.
    fn predict_for_classes(&self, x_t: &Tensor, t: &Tensor, labels: &Tensor) -> Result<Tensor> {
        let _ = (x_t, t, labels);
        candle_core::bail!("the denoiser is not conditioned on classes")
    }
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor>> Denoiser for F {
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> Result<Tensor> {
        self(x_t, t)
    }
}
