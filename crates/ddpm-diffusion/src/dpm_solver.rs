//! DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2).

use candle_core::Tensor;

use crate::sampling::predict_x0;
use crate::{DiffusionError, GaussianDiffusion, SamplerConfig};

/// What a step needs of the one before it.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// x̂_0 of the step before, and how much λ grew in that step.
    last: Option<(Tensor, f64)>,
}

/// With λ = ln(√ᾱ / √(1 − ᾱ)), h its growth over this step and r that of the step before divided by h:
/// x_{t−1} = σ_{t−1} / σ_t x − √ᾱ_{t−1} (e^{−h} − 1) D, where D = x̂_0 + (x̂_0 − the last x̂_0) / 2r; x̂_0 itself in the first step,
/// which has no last one, and in the last, which leads to λ = ∞.
pub(crate) fn step(
    walk: &GaussianDiffusion,
    x: &Tensor,
    i: usize,
    eps_hat: &Tensor,
    config: &SamplerConfig,
    memory: &mut Memory,
) -> Result<Tensor, DiffusionError> {
    let x_0 = predict_x0(walk, x, i, eps_hat, config)?;
    if i == 0 {
        return Ok(x_0);
    }
    let schedule = walk.schedule();
    let h = 0.5 * (schedule.log_snr(i - 1) - schedule.log_snr(i));
    let direction = match &memory.last {
        // From no signal at all λ grew without bound, and the step before says nothing of the slope.
        Some((last, grown)) if grown.is_finite() && h.is_finite() => (&x_0 + ((&x_0 - last)? * (h / (2.0 * grown)))?)?,
        _ => x_0.clone(),
    };
    let kept = schedule.sqrt_one_minus_alpha_bar(i - 1) / schedule.sqrt_one_minus_alpha_bar(i);
    let toward = -schedule.sqrt_alpha_bar(i - 1) * (-h).exp_m1();
    memory.last = Some((x_0, h));
    Ok(((x * kept)? + (direction * toward)?)?)
}
