//! The evaluation of the network that all sampling methods share.

use candle_core::{DType, Device, Tensor};
use ddpm_rng::ImageNoise;
use ddpm_schedule::Schedule;

use crate::{Clipping, Denoised, Denoiser, DiffusionError, EpsAfterClip, GaussianDiffusion, SamplerConfig};

/// One sampling run: the network, the respaced diffusion process and the configuration.
pub(crate) struct SamplerContext<'a> {
    denoiser: &'a dyn Denoiser,
    /// The dtype of the tensors that the network receives.
    network_dtype: DType,
    /// The process over the steps that are taken.
    pub(crate) diffusion: GaussianDiffusion,
    pub(crate) config: &'a SamplerConfig,
}

/// The output of the network at one step, in the dtype of the sampler's state.
pub(crate) struct Evaluation {
    /// Predicted x_0, clipped as configured, and the predicted ε that belongs to it.
    pub(crate) denoised: Denoised,
    /// The second half of the output channels, if the output has twice the channels of x.
    pub(crate) learned_variance: Option<Tensor>,
}

impl<'a> SamplerContext<'a> {
    pub(crate) fn new(
        denoiser: &'a dyn Denoiser,
        network_dtype: DType,
        diffusion: &GaussianDiffusion,
        config: &'a SamplerConfig,
    ) -> Result<Self, DiffusionError> {
        Ok(Self { denoiser, network_dtype, diffusion: config.respaced(diffusion)?, config })
    }

    /// The respaced schedule.
    pub(crate) fn schedule(&self) -> &Schedule {
        self.diffusion.schedule()
    }

    /// Number of timesteps between x and x_0 after step `i`, in the schedule that the network was trained with.
    pub(crate) fn timesteps_left(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.schedule().timestep(i - 1) + 1 }
    }

    /// Evaluates the network at x and step `i` of the respaced schedule.
    pub(crate) fn evaluate(&self, x: &Tensor, i: usize) -> Result<Evaluation, DiffusionError> {
        let t = vec![i; x.dim(0)?];
        let network_input = x.to_dtype(self.network_dtype)?;
        let output = self.denoiser.predict(&network_input, &self.diffusion.network_timesteps(&t)?)?;
        // Without `detach`, a network of variables would keep the activations of all steps in candle's graph.
        let (output, learned_variance) = split_channels(&output.detach().to_dtype(x.dtype())?, x.dim(1)?)?;

        let predicted = self.diffusion.denoised(x, &t, &output)?;
        let Some(x_0) = self.clip(&predicted.x_0)? else {
            return Ok(Evaluation { denoised: predicted, learned_variance });
        };
        let eps = match self.config.eps_after_clip {
            EpsAfterClip::Rederived => self.diffusion.predict_eps(x, &t, &x_0)?,
            EpsAfterClip::Predicted => predicted.eps,
        };
        Ok(Evaluation { denoised: Denoised { x_0, eps }, learned_variance })
    }

    /// Predicted x_0 after clipping; `None` if the configuration does not clip.
    fn clip(&self, x_0: &Tensor) -> Result<Option<Tensor>, DiffusionError> {
        let SamplerConfig { clip, clip_range, threshold_quantile, threshold_max, .. } = *self.config;
        match clip {
            Clipping::None => Ok(None),
            Clipping::Fixed => Ok(Some(x_0.clamp(-clip_range, clip_range)?)),
            Clipping::Dynamic => Ok(Some(dynamic_threshold(x_0, threshold_quantile, threshold_max)?)),
        }
    }
}

/// Separates the prediction from a learned variance, which follows it along the channel axis.
pub(crate) fn split_channels(output: &Tensor, channels: usize) -> Result<(Tensor, Option<Tensor>), DiffusionError> {
    match output.dims() {
        [_, output_channels, ..] if *output_channels == 2 * channels => {
            Ok((output.narrow(1, 0, channels)?, Some(output.narrow(1, channels, channels)?)))
        }
        _ => Ok((output.clone(), None)),
    }
}

/// Dynamic thresholding (Saharia et al. 2022, section 2.3): x_0 clipped to ±s and divided by s, where s is the given
/// quantile of |x_0| of each image, at least 1 and at most `threshold_max`.
fn dynamic_threshold(x_0: &Tensor, quantile: f64, threshold_max: f64) -> Result<Tensor, DiffusionError> {
    let quantiles = quantiles(&x_0.abs()?, quantile)?;
    // The lower bound of 1 keeps an image of low contrast as it is.
    let s: Vec<f64> = quantiles.into_iter().map(|quantile| quantile.max(1.0).min(threshold_max)).collect();
    let s = Tensor::from_vec(s, (x_0.dim(0)?, 1, 1, 1), &Device::Cpu)?;
    let scaled = x_0.broadcast_div(&s.to_dtype(x_0.dtype())?.to_device(x_0.device())?)?;
    Ok(scaled.clamp(-1.0, 1.0)?)
}

/// The next draw z ~ N(0, I) of each image, with the shape, dtype and device of `x`. The values are drawn in f32.
pub(crate) fn draw_noise(noise: &mut ImageNoise, x: &Tensor) -> Result<Tensor, DiffusionError> {
    Ok(noise.draw(&x.dims()[1..], x.device())?.to_dtype(x.dtype())?)
}

/// A quantile of the values of each image, with linear interpolation between the two nearest values.
fn quantiles(values: &Tensor, quantile: f64) -> Result<Vec<f64>, DiffusionError> {
    let images = values.flatten_from(1)?.to_dtype(DType::F64)?.to_vec2::<f64>()?;
    Ok(images.into_iter().map(|values| quantile_of(values, quantile)).collect())
}

fn quantile_of(mut values: Vec<f64>, quantile: f64) -> f64 {
    let Some(last) = values.len().checked_sub(1) else { return 0.0 };
    let position = quantile * last as f64;
    let (index, fraction) = (position.floor() as usize, position.fract());
    let (_, lower, above) = values.select_nth_unstable_by(index.min(last), f64::total_cmp);
    let upper = above.iter().copied().min_by(f64::total_cmp).unwrap_or(*lower);
    *lower + fraction * (upper - *lower)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let values = Tensor::new(&[[4.0f32, 1.0, 3.0, 2.0], [0.0, 0.0, 0.0, 8.0]], &Device::Cpu).unwrap();
        let of = |quantile| quantiles(&values, quantile).unwrap();
        assert_eq!(of(0.0), [1.0, 0.0]);
        assert_eq!(of(1.0), [4.0, 8.0]);
        assert_eq!(of(0.5), [2.5, 0.0]);
        assert!((of(0.9)[0] - 3.7).abs() < 1e-12 && (of(0.9)[1] - 5.6).abs() < 1e-12);
    }
}
