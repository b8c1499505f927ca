//! Ancestral sampling: algorithm 2 of Ho et al. 2020.

use candle_core::Tensor;
use ddpm_rng::ImageNoise;
use ddpm_schedule::{Prediction as Predicts, VarianceKind};

use crate::sampler_context::{Prediction, SamplerContext, drawn};
use crate::{Clipping, DiffusionError, ReverseVariance};

/// x_{t−1} = μ_θ(x_t, t) + σ_t z, where the last draw is the mean alone.
pub(crate) fn step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
) -> Result<Tensor, DiffusionError> {
    let t = vec![i; noise.images()];
    let Prediction { estimate, variance } = context.predict(x, i)?;
    // Eq. 11 where ε̂ is what there is; else eq. 7 at x̂_0.
    let mean = match (context.config.clip, context.diffusion.prediction()) {
        (Clipping::None, Predicts::Epsilon) => context.diffusion.model_mean(x, &t, &estimate.eps)?,
        _ => context.diffusion.q_posterior(&estimate.x_0, x, &t)?.mean,
    };
    if i == 0 {
        return Ok(mean);
    }
    let z = drawn(noise, x)?;
    Ok((mean + scaled(context, i, z, variance)?)?)
}

/// σ_t z.
fn scaled(context: &SamplerContext<'_>, i: usize, z: Tensor, said: Option<Tensor>) -> Result<Tensor, DiffusionError> {
    let schedule = context.schedule();
    let fixed = |kind| Ok((&z * schedule.variance(kind, i).sqrt())?);
    let log_variance = match (context.config.variance, said) {
        (ReverseVariance::FixedLarge, _) => return fixed(VarianceKind::FixedLarge),
        (ReverseVariance::FixedSmall, _) => return fixed(VarianceKind::FixedSmall),
        (_, None) => return Err(DiffusionError::NoVariance { channels: z.dim(1)? }),
        (ReverseVariance::Learned, Some(said)) => said,
        (ReverseVariance::LearnedRange, Some(said)) => {
            let [large, small] =
                [VarianceKind::FixedLarge, VarianceKind::FixedSmall].map(|kind| schedule.log_variance_clipped(kind, i));
            let u = said.affine(0.5, 0.5)?;
            u.affine(large - small, small)?
        }
    };
    Ok((z * (log_variance * 0.5)?.exp()?)?)
}
