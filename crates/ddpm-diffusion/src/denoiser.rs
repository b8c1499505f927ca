//! What the diffusion process needs of a network.

use candle_core::{Result, Tensor};

/// Predicts the noise in a noisy image, or what else its [`GaussianDiffusion`](crate::GaussianDiffusion) says that it does.
///
/// # Examples
/// ```
/// use candle_core::{Result, Tensor};
/// use ddpm_diffusion::Denoiser;
///
/// // The best guess that knows nothing of the data.
/// let silent = |x_t: &Tensor, _t: &Tensor| -> Result<Tensor> { x_t.zeros_like() };
/// # let _: &dyn Denoiser = &silent;
/// ```
pub trait Denoiser {
    /// ε_θ(x_t, t); x̂_0 or v̂ of a network that was trained to predict those.
    ///
    /// # Shapes
    /// `x_t` [batch, channel, height, width]; `t` `[batch]`, f32, on the CPU wherever `x_t` is: indices from 0 into
    /// the schedule that the network was trained with.
    /// The result has the shape of `x_t`, or twice its channels where a variance was learnt beside the prediction (see
    /// [`ReverseVariance`](crate::ReverseVariance)).
    ///
    /// # Errors
    /// Whatever the network says.
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> Result<Tensor>;
}

impl<F: Fn(&Tensor, &Tensor) -> Result<Tensor>> Denoiser for F {
    fn predict(&self, x_t: &Tensor, t: &Tensor) -> Result<Tensor> {
        self(x_t, t)
    }
}
