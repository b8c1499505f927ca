//! The sampling itself, batch by batch.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_cli::{Progress, StopSignal};
use ddpm_diffusion::{Sampling, sample};
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
    mut moments: Option<&mut Vec<Tensor>>,
) -> anyhow::Result<Option<Tensor>> {
    let (mut noise, latents) = plan.begin(from, images, device)?;
    let denoiser = |x_t: &Tensor, t: &Tensor| plan.network.forward(x_t, t).map_err(candle_core::Error::wrap);
    let kept = |x: &Tensor| x.narrow(0, 0, images.min(STRIP_IMAGES))?.to_device(&Device::Cpu);
    if let Some(moments) = &mut moments {
        moments.push(kept(&latents)?);
    }
    // A moment is kept whenever another `record_every` steps of the trained schedule are done.
    let timesteps = plan.diffusion.schedule().len();
    let mut next = timesteps.saturating_sub(plan.record_every);
    let mut failure = None;
    let mut on_step = |step: ddpm_diffusion::Progress<'_>| {
        bar.inc(1);
        if let Some(moments) = &mut moments
            && (step.time_left <= next || step.time_left == 0)
        {
            match kept(step.x) {
                Ok(x) => moments.push(x),
                Err(error) => failure = Some(error),
            }
            while next > 0 && step.time_left <= next {
                next = next.saturating_sub(plan.record_every);
            }
        }
        if stop.received().is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let sampling = sample(&denoiser, &plan.diffusion, &plan.sampler, &latents, &mut noise, &mut on_step)?;
    if let Some(failure) = failure {
        return Err(failure.into());
    }
    match sampling {
        Sampling::Finished(x_0) => Ok(Some(x_0.to_device(&Device::Cpu)?)),
        Sampling::Stopped(_) => Ok(None),
    }
}
