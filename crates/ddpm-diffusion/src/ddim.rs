//! Denoising diffusion implicit models (Song et al. 2021).

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::sampler_context::{SamplerContext, drawn};
use crate::{DiffusionError, Estimate};

/// x_{t−1} = √ᾱ_{t−1} x̂_0 + √(1 − ᾱ_{t−1} − σ²) ε̂ + σ z with σ = η √β̃_t (eq. 12 and 16).
///
/// Over a respaced schedule β̃ is that of the steps that are walked, so t − 1 is the step before t among them.
/// DIFFERENCE: diffusers takes it ⌊T / S⌋ before t, which is another where the spacing is not `leading` and S does not divide T, or
/// the steps lie evenly between the first and the last.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
) -> Result<Tensor, DiffusionError> {
    let Estimate { x_0, eps } = context.predict(x, i)?.estimate;
    let schedule = context.schedule();
    let (alpha_bar, variance) = (schedule.alpha_bar_prev(i), schedule.posterior_variance(i));
    let sigma = context.config.eta * variance.sqrt();
    // The difference may round below 0 where η is 1.
    let toward_x = (1.0 - alpha_bar - sigma * sigma).max(0.0).sqrt();
    let mean = ((x_0 * alpha_bar.sqrt())? + (eps * toward_x)?)?;
    if sigma == 0.0 { Ok(mean) } else { Ok((mean + (drawn(noise, x)? * sigma)?)?) }
}
