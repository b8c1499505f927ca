//! Denoising diffusion implicit models, DDIM (Song et al. 2021).

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::sampler_context::{SamplerContext, draw_noise};
use crate::{Denoised, DiffusionError};

/// x_{t−1} = √ᾱ_{t−1} x̂_0 + √(1 − ᾱ_{t−1} − σ_t²) ε̂ + σ_t z with σ_t = η √β̃_t (Song et al. 2021, eq. 12 and 16).
///
/// In a respaced schedule, t − 1 is the previous step of that schedule, and β̃_t belongs to the respaced steps.
///
/// DIFFERENCE: diffusers assumes that the previous step lies ⌊T / S⌋ timesteps before t. This is another step if the
/// spacing is `linspace`, or if it is `trailing` and S does not divide T.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
) -> Result<Tensor, DiffusionError> {
    let Denoised { x_0, eps } = context.evaluate(x, i)?.denoised;
    let schedule = context.schedule();
    let alpha_bar_prev = schedule.alpha_bar_prev(i);
    let sigma = context.config.eta * schedule.posterior_variance(i).sqrt();
    // For η = 1 the difference may be a small negative number because of rounding.
    let eps_coef = (1.0 - alpha_bar_prev - sigma * sigma).max(0.0).sqrt();

    let mean = ((x_0 * alpha_bar_prev.sqrt())? + (eps * eps_coef)?)?;
    if sigma == 0.0 {
        return Ok(mean);
    }
    Ok((mean + (draw_noise(noise, x)? * sigma)?)?)
}
