//! Ancestral sampling (Ho et al. 2020, algorithm 2).

use candle_core::Tensor;
use ddpm_rng::ImageNoise;
use ddpm_schedule::VarianceKind;

use crate::sampler_context::{Evaluation, SamplerContext, draw_noise};
use crate::{DiffusionError, ReverseVariance};

/// x_{t−1} = μ̃_t(x_t, x̂_0) + σ_t z (Ho et al. 2020, eq. 7 for the mean; algorithm 2, line 4). The last step, to x_0,
/// adds no noise.
///
/// Without clipping the mean equals the one of eq. 11, which algorithm 2 writes in terms of ε̂.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
) -> Result<Tensor, DiffusionError> {
    let Evaluation { denoised, learned_variance } = context.evaluate(x, i)?;
    let mean = context.diffusion.q_posterior(&denoised.x_0, x, &vec![i; noise.images()])?.mean;
    if i == 0 {
        return Ok(mean);
    }
    let z = draw_noise(noise, x)?;
    Ok((mean + scale_noise(context, i, z, learned_variance)?)?)
}

/// σ_t z, where σ_t² is fixed (Ho et al. 2020, section 3.2) or learned (Nichol & Dhariwal 2021, eq. 15).
fn scale_noise(
    context: &SamplerContext<'_>,
    i: usize,
    z: Tensor,
    learned_variance: Option<Tensor>,
) -> Result<Tensor, DiffusionError> {
    let schedule = context.schedule();
    let fixed = |kind| Ok((&z * schedule.variance(kind, i).sqrt())?);
    match context.config.variance {
        ReverseVariance::FixedLarge => fixed(VarianceKind::FixedLarge),
        ReverseVariance::FixedSmall => fixed(VarianceKind::FixedSmall),
        learned @ (ReverseVariance::Learned | ReverseVariance::LearnedRange) => {
            let log_variance = learned.log_variance(schedule, i, learned_variance, &z)?;
            Ok((z * (log_variance * 0.5)?.exp()?)?)
        }
    }
}
