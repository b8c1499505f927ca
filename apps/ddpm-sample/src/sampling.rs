//! Samples the images of a plan, batch by batch.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_cli::{Progress, StopSignal};
use ddpm_diffusion::{Sampling, SamplingProgress, TrajectoryRecorder, repaint, sample_from};
use indicatif::ProgressBar;

use crate::plan::Plan;

/// Number of images in the denoising strip.
const STRIP_IMAGES: usize = 8;

/// Samples every image of the plan.
///
/// `write` receives each batch as it is finished: the index of its first image in the plan, and x_0. The result is x_t
/// of the first images at several timesteps, from x_T to x_0, for the denoising strip. It is `None` if a signal
/// stopped the sampling.
///
/// # Shapes
/// All tensors are [image, channel, height, width], on the CPU.
pub(crate) fn sample_all(
    plan: &Plan,
    device: &Device,
    progress: &Progress,
    stop: &StopSignal,
    write: &mut dyn FnMut(usize, &Tensor) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Vec<Tensor>>> {
    let batches = plan.images().div_ceil(plan.batch_size);
    let bar = progress.bar(0, (batches * plan.steps()) as u64, "steps");
    let mut moments = Vec::new();
    for from in (0..plan.images()).step_by(plan.batch_size) {
        let images = plan.batch_size.min(plan.images() - from);
        let strip = if from == 0 { Some(&mut moments) } else { None };
        let x_0 = sample_batch(plan, from, images, device, &bar, stop, strip)?;
        x_0.map_or(Ok(()), |x_0| write(from, &x_0))?;
        if stop.received().is_some() {
            bar.finish_and_clear();
            return Ok(None);
        }
    }
    bar.finish_and_clear();
    Ok(Some(moments))
}

/// Samples the images `from..from + images` of the plan, and records x_t of the first ones in `moments` if it is given.
fn sample_batch(
    plan: &Plan,
    from: usize,
    images: usize,
    device: &Device,
    bar: &ProgressBar,
    stop: &StopSignal,
    moments: Option<&mut Vec<Tensor>>,
) -> anyhow::Result<Option<Tensor>> {
    let (mut noise, start) = plan.begin(from, images, device)?;
    let timesteps = plan.timesteps_left()?;
    let mut recording = match moments {
        Some(_) => Some(TrajectoryRecorder::new(&start, timesteps, plan.record_every, STRIP_IMAGES)?),
        None => None,
    };
    let mut recorded = Ok(());
    let mut on_step = |step: SamplingProgress<'_>| {
        bar.inc(1);
        if let Some(recording) = &mut recording {
            recorded = recording.record(&step);
        }
        if stop.received().is_some() || recorded.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let denoiser = plan.denoiser(from, images)?;
    let (diffusion, sampler) = (&plan.diffusion, &plan.sampler);
    let sampling = match plan.repaint(from, images, device)? {
        Some(config) => {
            let mut known_noise = plan.inpainting_noise(from, images);
            let noises = (&mut noise, &mut known_noise);
            repaint(&denoiser, diffusion, sampler, &config, &start, noises.0, noises.1, &mut on_step)?
        }
        None => sample_from(&denoiser, diffusion, sampler, &start, plan.steps(), &mut noise, &mut on_step)?,
    };
    recorded?;
    if let (Some(moments), Some(recording)) = (moments, recording) {
        for x in recording.into_images() {
            moments.push(x.to_device(&Device::Cpu)?);
        }
    }
    match sampling {
        Sampling::Finished(x_0) => Ok(Some(x_0.to_device(&Device::Cpu)?)),
        Sampling::Stopped(_) => Ok(None),
    }
}
