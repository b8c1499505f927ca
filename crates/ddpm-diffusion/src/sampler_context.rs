//! What every sampling method asks for: the network's estimate at a step, bounded as the configuration says.

use candle_core::{DType, Device, Tensor};
use ddpm_rng::ImageNoise;
use ddpm_schedule::Schedule;

use crate::{Clipping, Denoiser, DiffusionError, EpsAfterClip, Estimate, GaussianDiffusion, SamplerConfig};

/// The steps of one sampling, and the network that is asked at each.
pub(crate) struct SamplerContext<'a> {
    denoiser: &'a dyn Denoiser,
    /// Over the steps that are taken.
    pub(crate) diffusion: GaussianDiffusion,
    pub(crate) config: &'a SamplerConfig,
}

/// What the network says at a step.
pub(crate) struct Prediction {
    /// x̂_0, bounded, and the ε̂ that goes with it.
    pub(crate) estimate: Estimate,
    /// What it says of the variance: the second half of its channels, where it has twice those of x.
    pub(crate) variance: Option<Tensor>,
}

impl<'a> SamplerContext<'a> {
    pub(crate) fn new(
        denoiser: &'a dyn Denoiser,
        diffusion: &GaussianDiffusion,
        config: &'a SamplerConfig,
    ) -> Result<Self, DiffusionError> {
        Ok(Self { denoiser, diffusion: config.respaced(diffusion)?, config })
    }

    pub(crate) fn schedule(&self) -> &Schedule {
        self.diffusion.schedule()
    }

    /// The network's estimate at step `i`.
    pub(crate) fn predict(&self, x: &Tensor, i: usize) -> Result<Prediction, DiffusionError> {
        let t = vec![i; x.dim(0)?];
        // Detached: a denoiser over variables would otherwise keep the activations of every step until the last.
        let output = self.denoiser.predict(x, &self.diffusion.network_time(&t)?)?.detach();
        let channels = x.dim(1)?;
        let (output, variance) = match output.dims() {
            [_, twice, ..] if *twice == 2 * channels => {
                (output.narrow(1, 0, channels)?, Some(output.narrow(1, channels, channels)?))
            }
            _ => (output, None),
        };
        let free = self.diffusion.estimate(x, &t, &output)?;
        let Some(x_0) = self.bounded(&free.x_0)? else { return Ok(Prediction { estimate: free, variance }) };
        let eps = match self.config.eps_after_clip {
            EpsAfterClip::Rederived => self.diffusion.predict_eps(x, &t, &x_0)?,
            EpsAfterClip::Predicted => free.eps,
        };
        Ok(Prediction { estimate: Estimate { x_0, eps }, variance })
    }

    /// x̂_0 within its bounds; None where there are none.
    fn bounded(&self, x_0: &Tensor) -> Result<Option<Tensor>, DiffusionError> {
        let SamplerConfig { clip_range, threshold_quantile, threshold_max, .. } = *self.config;
        match self.config.clip {
            Clipping::None => Ok(None),
            Clipping::Fixed => Ok(Some(x_0.clamp(-clip_range, clip_range)?)),
            Clipping::Dynamic => {
                let bounds = quantiles(&x_0.abs()?, threshold_quantile)?.into_iter();
                // Never below 1: an image of little contrast is not stretched.
                let bounds: Vec<f64> = bounds.map(|bound| bound.max(1.0).min(threshold_max)).collect();
                let s = Tensor::from_vec(bounds, (x_0.dim(0)?, 1, 1, 1), &Device::Cpu)?;
                let shares = x_0.broadcast_div(&s.to_dtype(x_0.dtype())?.to_device(x_0.device())?)?;
                Ok(Some(shares.clamp(-1.0, 1.0)?))
            }
        }
    }
}

/// z, the next draw of each image's own stream, of the kind that `x` is of.
pub(crate) fn drawn(noise: &mut ImageNoise, x: &Tensor) -> Result<Tensor, DiffusionError> {
    Ok(noise.draw(&x.dims()[1..], x.device())?.to_dtype(x.dtype())?)
}

/// The quantile of each image's values, between two of them by their distance.
fn quantiles(values: &Tensor, quantile: f64) -> Result<Vec<f64>, DiffusionError> {
    let images = values.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(images
        .into_iter()
        .map(|mut values| {
            let at = quantile * values.len().saturating_sub(1) as f64;
            let (lower, share) = (at.floor() as usize, at.fract());
            let Some(last) = values.len().checked_sub(1) else { return 0.0 };
            let (_, low, above) = values.select_nth_unstable_by(lower.min(last), f64::total_cmp);
            let next = above.iter().copied().min_by(f64::total_cmp).unwrap_or(*low);
            *low + share * (next - *low)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_two_values() {
        let values = Tensor::new(&[[4.0f32, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 8.0]], &Device::Cpu).unwrap();
        let of = |quantile| quantiles(&values, quantile).unwrap();
        assert_eq!(of(0.0), [1.0, 0.0]);
        assert_eq!(of(1.0), [4.0, 8.0]);
        assert_eq!(of(0.5), [2.5, 0.0]);
        assert!((of(0.9)[0] - 3.7).abs() < 1e-12 && (of(0.9)[1] - 5.6).abs() < 1e-12);
    }
}
