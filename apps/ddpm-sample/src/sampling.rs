//! Samples the images of a plan, batch by batch.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_cli::{Job, Progress, StopSignal};
use ddpm_diffusion::{Sampling, SamplingProgress, TrajectoryRecorder, repaint, sample_from};
use indicatif::ProgressBar;

use crate::plan::Plan;

/// Number of images in the denoising strip.
const STRIP_IMAGES: usize = 8;

/// Samples every image of the plan.
///
/// `write` receives each batch as it is finished: the index of its first image in the plan, and x_0. The result is x_t
/// of the first images at several timesteps, from x_T to x_0, for the denoising strip. It is `None` if a signal
/// stopped the sampling. The ranks of `job` sample the batches in turns, and rank 0 alone writes them and has a result
/// with images.
///
/// # Shapes
/// All tensors are [image, channel, height, width], on the CPU.
pub(crate) fn sample_all(
    plan: &Plan,
    device: &Device,
    progress: &Progress,
    stop: &StopSignal,
    job: &Job,
    write: &mut dyn FnMut(usize, &Tensor) -> anyhow::Result<()>,
) -> anyhow::Result<Option<Vec<Tensor>>> {
    let communicator = job.communicator();
    let (rank, ranks) = (communicator.rank(), communicator.size());
    let [channels, height, width] = plan.image_shape;
    let rounds = plan.images().div_ceil(plan.batch_size).div_ceil(ranks);
    let bar = progress.bar(0, (rounds * plan.steps()) as u64, "steps");
    let mut moments = Vec::new();
    for round in 0..rounds {
        let from = (round * ranks + rank) * plan.batch_size;
        let images = plan.batch_size.min(plan.images().saturating_sub(from));
        let strip = if from == 0 { Some(&mut moments) } else { None };
        let x_0 = match images {
            0 => None,
            _ => sample_batch(plan, from, images, device, &bar, stop, strip)?,
        };
        let stopped = communicator.any(stop.received().is_some())?;
        let own = x_0.map(|x_0| x_0.flatten_all()?.to_vec1()).transpose()?;
        let of_all = communicator.gather_values(own.unwrap_or_default())?.unwrap_or_default();
        let working = communicator.long_work();
        for (rank, values) in of_all.into_iter().enumerate().filter(|(_, values)| !values.is_empty()) {
            let images = values.len() / (channels * height * width);
            let x_0 = Tensor::from_vec(values, (images, channels, height, width), &Device::Cpu)?;
            write((round * ranks + rank) * plan.batch_size, &x_0)?;
        }
        drop(working);
        if stopped {
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
