//! The sampling itself, batch by batch.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_cli::{Progress, StopSignal};
use ddpm_diffusion::{Recording, Sampling, sample};
use indicatif::ProgressBar;
use tracing::info;

use crate::plan::Plan;

/// What was sampled, on the CPU.
#[derive(Debug)]
pub(crate) struct Sampled {
    /// x_0, [image, channel, height, width].
    pub(crate) images: Tensor,
    /// x at moments from x_T to x_0 of the first pictures, each [image, channel, height, width].
    pub(crate) moments: Vec<Tensor>,
}

/// Pictures whose denoising is kept.
const STRIP_IMAGES: usize = 8;

/// Samples every picture of the plan; None when a signal came first.
pub(crate) fn sample_all(
    plan: &Plan,
    device: &Device,
    progress: &Progress,
    stop: &StopSignal,
) -> anyhow::Result<Option<Sampled>> {
    let batches = plan.images().div_ceil(plan.batch_size);
    let bar = progress.bar(0, (batches * plan.sampler.steps) as u64, "steps");
    let (mut parts, mut moments) = (Vec::new(), Vec::new());
    for from in (0..plan.images()).step_by(plan.batch_size) {
        let images = plan.batch_size.min(plan.images() - from);
        let strip = if from == 0 { Some(&mut moments) } else { None };
        let Some(x_0) = sample_batch(plan, from, images, device, &bar, stop, strip)? else {
            bar.finish_and_clear();
            info!("stopped, nothing written");
            return Ok(None);
        };
        parts.push(x_0);
    }
    bar.finish_and_clear();
    Ok(Some(Sampled { images: Tensor::cat(&parts, 0)?, moments }))
}

fn sample_batch(
    plan: &Plan,
    from: usize,
    images: usize,
    device: &Device,
    bar: &ProgressBar,
    stop: &StopSignal,
    moments: Option<&mut Vec<Tensor>>,
) -> anyhow::Result<Option<Tensor>> {
    let (mut noise, latents) = plan.begin(from, images, device)?;
    let denoiser = |x_t: &Tensor, t: &Tensor| plan.network.forward(x_t, t).map_err(candle_core::Error::wrap);
    let timesteps = plan.diffusion.schedule().len();
    let mut recording = match moments {
        Some(_) => Some(Recording::new(&latents, timesteps, plan.record_every, STRIP_IMAGES)?),
        None => None,
    };
    let mut recorded = Ok(());
    let mut on_step = |step: ddpm_diffusion::Progress<'_>| {
        bar.inc(1);
        if let Some(recording) = &mut recording {
            recorded = recording.observe(&step);
        }
        if stop.received().is_some() || recorded.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let sampling = sample(&denoiser, &plan.diffusion, &plan.sampler, &latents, &mut noise, &mut on_step)?;
    recorded?;
    if let (Some(moments), Some(recording)) = (moments, recording) {
        for x in recording.into_moments() {
            moments.push(x.to_device(&Device::Cpu)?);
        }
    }
    match sampling {
        Sampling::Finished(x_0) => Ok(Some(x_0.to_device(&Device::Cpu)?)),
        Sampling::Stopped(_) => Ok(None),
    }
}
