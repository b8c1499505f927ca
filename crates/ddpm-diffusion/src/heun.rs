//! Heun's method on the probability-flow ODE (Karras et al. 2022, algorithm 1).

use candle_core::Tensor;

use crate::DiffusionError;
use crate::sampler_context::SamplerContext;

/// The largest ratio σ_t / σ_{t−1} for which a step is corrected.
const MAX_SIGMA_RATIO: f64 = 100.0;

/// One step of Karras et al. 2022, algorithm 1, without its added noise (S_churn = 0). The variables are those of the
/// paper: y = x / √ᾱ_t has the noise level σ_t = √(1 − ᾱ_t) / √ᾱ_t, and the ODE is dy/dσ = ε̂(y, σ). An Euler step is
/// followed by a correction with the mean of the slopes at both ends. The last step, to σ = 0, is the Euler step alone,
/// which is predicted x_0.
///
/// DIFFERENCE: a step with σ_t > 100 σ_{t−1} is not corrected. Such steps occur at the noisy end of cosine schedules.
/// The two slopes differ by Δ / σ_{t−1}, where Δ is the change of predicted x_0, and the correction multiplies this
/// difference by (σ_t − σ_{t−1}) / 2. It would amplify Δ by about σ_t / 2σ_{t−1}, to thousands of times the range of
/// the pixels.
///
/// DIFFERENCE: with the spacing `linspace`, diffusers evaluates the network at fractional timesteps. Here they are
/// rounded, because the network was trained on integers.
pub(crate) fn step(context: &SamplerContext<'_>, x: &Tensor, i: usize) -> Result<Tensor, DiffusionError> {
    let denoised = context.evaluate(x, i)?.denoised;
    if i == 0 {
        return Ok(denoised.x_0);
    }
    let schedule = context.schedule();
    let sigma = |i: usize| schedule.sqrt_one_minus_alpha_bar(i) / schedule.sqrt_alpha_bar(i);
    let (sigma_cur, sigma_next) = (sigma(i), sigma(i - 1));
    let sqrt_alpha_bar_next = schedule.sqrt_alpha_bar(i - 1);

    // Euler step from σ_t to σ_{t−1}.
    let y_cur = (x / schedule.sqrt_alpha_bar(i))?;
    let d_cur = denoised.eps;
    let euler_step = (&y_cur + (&d_cur * (sigma_next - sigma_cur))?)?;
    let x_next = (euler_step * sqrt_alpha_bar_next)?;
    if sigma_cur > MAX_SIGMA_RATIO * sigma_next {
        return Ok(x_next);
    }

    // Correction of second order.
    let d_next = context.evaluate(&x_next, i - 1)?.denoised.eps;
    let y_next = (y_cur + ((d_cur + d_next)? * (0.5 * (sigma_next - sigma_cur)))?)?;
    Ok((y_next * sqrt_alpha_bar_next)?)
}
