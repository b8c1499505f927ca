//! Ancestral sampling: algorithm 2 of Ho et al. 2020.

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::sampling::predict_x0;
use crate::{DiffusionError, GaussianDiffusion, MeanForm, SamplerConfig};

/// x_{t−1} = μ_θ(x_t, t) + σ_t z, where the last draw is the mean alone.
pub(crate) fn step(
    walk: &GaussianDiffusion,
    x: &Tensor,
    i: usize,
    eps_hat: &Tensor,
    config: &SamplerConfig,
    noise: &mut ImageNoise,
) -> Result<Tensor, DiffusionError> {
    let t = vec![i; noise.images()];
    // The mean: eq. 11, or eq. 7 at the clipped x̂_0.
    let mean = match config.mean {
        MeanForm::Epsilon => walk.model_mean(x, &t, eps_hat)?,
        MeanForm::ClippedX0 => walk.q_posterior(&predict_x0(walk, x, i, eps_hat, config)?, x, &t)?.mean,
    };
    if i == 0 {
        return Ok(mean);
    }
    Ok((mean + (drawn(noise, x)? * walk.schedule().variance(config.variance, i).sqrt())?)?)
}

/// z, the next draw of each image's own stream, of the kind that `x` is of.
pub(crate) fn drawn(noise: &mut ImageNoise, x: &Tensor) -> Result<Tensor, DiffusionError> {
    Ok(noise.draw(&x.dims()[1..], x.device())?.to_dtype(x.dtype())?)
}
