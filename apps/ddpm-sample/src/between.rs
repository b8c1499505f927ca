//! Interpolation between two given images: `--between`.

use std::ops::ControlFlow;
use std::path::PathBuf;

use candle_core::{DType, Device, Tensor};
use ddpm_cli::{Progress, StopSignal, usage_error};
use ddpm_diffusion::{
    DdimInversion, Denoiser, GaussianDiffusion, SamplerConfig, Sampling, SamplingProgress, ddim_invert,
};

use crate::edit::{batch, read_images};
use crate::model::LoadedModel;

/// Number of steps unless there is `--steps`. Each takes up to ten evaluations of the network in the inversion.
pub(crate) const DEFAULT_STEPS: usize = 50;

/// The two images, [2, channel, height, width], on the CPU.
pub(crate) fn read_ends(paths: &[PathBuf], model: &LoadedModel) -> anyhow::Result<Tensor> {
    let [channels, height, width] = model.image_shape();
    let conversion = model.preparation()?.conversion(channels, [height, width]);
    let mut ends = Vec::new();
    for path in paths {
        let images = read_images("--between", path, &conversion)?;
        if images.len() != 1 {
            let found = images.len();
            return Err(usage_error(format!("--between {}: expected one image, found {found}", path.display())));
        }
        ends.extend(images);
    }
    batch(ends)
}

/// x_T of `images` images between the two `ends`: their latents after inversion, and spherical interpolations of them.
/// `None` if a signal stopped the inversion.
pub(crate) fn interpolated_latents(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    sampler: &SamplerConfig,
    ends: &Tensor,
    images: usize,
    progress: &Progress,
    stop: &StopSignal,
) -> anyhow::Result<Option<Tensor>> {
    let bar = progress.bar(0, sampler.steps as u64, "steps of inversion");
    let mut on_step = |_: SamplingProgress<'_>| {
        bar.inc(1);
        if stop.received().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let inverted = ddim_invert(denoiser, diffusion, sampler, &DdimInversion::default(), ends, &mut on_step)?;
    bar.finish_and_clear();
    let Sampling::Finished(latents) = inverted else { return Ok(None) };
    let latents = latents.to_device(&Device::Cpu)?;
    let (a, b) = (latents.get(0)?, latents.get(1)?);
    let steps = images.saturating_sub(1).max(1) as f64;
    let between: Vec<Tensor> = (0..images).map(|i| slerp(&a, &b, i as f64 / steps)).collect::<Result<_, _>>()?;
    Ok(Some(Tensor::stack(&between, 0)?))
}

/// Spherical interpolation: sin((1 − f) θ) / sin θ a + sin(f θ) / sin θ b, where θ is the angle between a and b.
fn slerp(a: &Tensor, b: &Tensor, fraction: f64) -> candle_core::Result<Tensor> {
    let dot = |x: &Tensor, y: &Tensor| (x * y)?.sum_all()?.to_dtype(DType::F64)?.to_scalar::<f64>();
    let angle = (dot(a, b)? / (dot(a, a)? * dot(b, b)?).sqrt()).clamp(-1.0, 1.0).acos();
    if angle < 1e-6 {
        return (a * (1.0 - fraction))? + (b * fraction)?;
    }
    let (of_a, of_b) = (((1.0 - fraction) * angle).sin() / angle.sin(), (fraction * angle).sin() / angle.sin());
    (a * of_a)? + (b * of_b)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_latents_and_the_middle_keeps_their_length() {
        let a = Tensor::new(&[3f32, 0.0], &Device::Cpu).unwrap();
        let b = Tensor::new(&[0f32, 3.0], &Device::Cpu).unwrap();
        let at = |fraction| slerp(&a, &b, fraction).unwrap().to_vec1::<f32>().unwrap();
        assert_eq!((at(0.0)[0], at(1.0)[1]), (3.0, 3.0));
        let middle = at(0.5);
        assert!((middle[0] - middle[1]).abs() < 1e-6 && (middle[0].hypot(middle[1]) - 3.0).abs() < 1e-6);
        assert_eq!(slerp(&a, &a, 0.3).unwrap().to_vec1::<f32>().unwrap(), [3.0, 0.0]);
    }
}
