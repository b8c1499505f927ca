//! `--benchmark N`: the duration of a training step and of a prediction, on synthetic images.

use std::time::Instant;

use anyhow::Context;
use candle_core::{Device, Result, Tensor};
use ddpm_cli::{ExitReason, device_name};
use ddpm_ops::gpu_memory;
use ddpm_rng::{Purpose, Stream};
use ddpm_trainer::{ClassLabels, Trainer, TrainingBatch};
use ddpm_unet::Network;
use serde::Serialize;

use crate::gpu_operations::{ComposedOperation, CudnnConvolution, composed_operations, cudnn_convolutions};
use crate::model::new_model;
use crate::out_of_memory;
use crate::run_config::RunConfig;

/// The JSON object that the benchmark prints.
#[derive(Debug, Serialize)]
struct Report {
    /// Number of parameters of the network.
    params: usize,
    batch_size: usize,
    /// Median duration of a whole step: noise, copies to the device, forward, loss, backward, clipping, Adam, EMA.
    train_step_ms: f64,
    /// Median duration of a forward pass without gradients, with weights packed in advance.
    predict_ms: f64,
    /// Peak memory of the process during training; absent where the system does not report it.
    peak_rss_mib: Option<f64>,
    /// Peak memory of tensors and workspaces on the GPU during training; absent on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_memory_mib: Option<f64>,
    /// The same with freed memory that is kept for later tensors; absent on the CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    gpu_reserved_mib: Option<f64>,
    /// Whether the steps were replays of a captured one (`train.cuda_graph`).
    replayed_steps: bool,
    device: String,
    threads: usize,
    /// The operations that a GPU composed of slower ones. Empty if every operation has a kernel, and on the CPU.
    fallbacks: Vec<ComposedOperation>,
    /// The convolutions that cuDNN computed, in training and prediction. Empty on the CPU.
    convolutions: Vec<CudnnConvolution>,
}

/// Number of steps that are timed as one on a GPU, where steps overlap.
const STEPS_TOGETHER: u64 = 10;

/// Number of runs that are not timed, before those that are.
const WARM_UP: u64 = 2;

/// Trains the configuration for `steps` steps on synthetic batches and prints the timings as one JSON object.
pub(crate) fn benchmark(config: &RunConfig, steps: u64, device: &Device, threads: usize) -> anyhow::Result<ExitReason> {
    let size = config.model.image_size();
    let shape = (config.train.batch_size, config.model.channels(), size.height, size.width);
    // On the CPU, like the batches of a data loader, so that a step includes their copy to a GPU.
    let images = Stream::new(config.train.seed, Purpose::Synthetic, 0).normal(shape, &Device::Cpu)?.clamp(-1.0, 1.0)?;

    let labels = synthetic_labels(config);
    let classes = labels.as_ref().map(|_| ClassLabels { classes: 1, without_class: None });
    let model = new_model(&config.model, None, &config.train, classes, device)?;
    let batch = TrainingBatch { images: images.clone(), labels: labels.clone() };
    let total_steps = steps.saturating_add(WARM_UP * STEPS_TOGETHER);
    let diffusion = config.diffusion.build()?;
    let mut trainer = Trainer::new(config.train.clone(), total_steps, diffusion, model, device.clone())?;
    let train_step_ms =
        train_step_ms(&mut trainer, &batch, steps).map_err(|error| out_of_memory::advise(error, &trainer, config))?;
    let (peak_rss_mib, gpu_memory) = (peak_rss_mib(), gpu_memory(device));
    let predict_ms = predict_ms(config, &trainer, &images.to_device(device)?, steps)?;

    let report = Report {
        params: config.model.parameter_count()?,
        batch_size: config.train.batch_size,
        train_step_ms,
        predict_ms,
        peak_rss_mib,
        gpu_memory_mib: gpu_memory.map(|memory| mib(memory.allocated)),
        gpu_reserved_mib: gpu_memory.map(|memory| mib(memory.reserved)),
        replayed_steps: trainer.replays_steps(),
        device: device_name(device),
        threads,
        fallbacks: composed_operations(),
        convolutions: cudnn_convolutions(),
    };
    let text = serde_json::to_string(&report).context("could not write the report")?;
    ddpm_cli::print(&format!("{text}\n"))?;
    Ok(ExitReason::Completed)
}

/// The labels of a synthetic batch, if the network takes labels.
fn synthetic_labels(config: &RunConfig) -> Option<Vec<u32>> {
    config.model.takes_class_labels().then(|| vec![0; config.train.batch_size])
}

/// The median duration of a training step on `batch`, in milliseconds.
fn train_step_ms(trainer: &mut Trainer, batch: &TrainingBatch, steps: u64) -> anyhow::Result<f64> {
    let mut batches = std::iter::repeat_with(|| Result::<TrainingBatch>::Ok(batch.clone()));
    // As many steps overlap as in training. On the CPU, steps do not overlap.
    let together = STEPS_TOGETHER.min(steps).min(trainer.max_steps_in_flight() as u64).max(1);
    let together_ms = median_ms(steps / together, || {
        for _ in 0..together {
            trainer.step(&mut batches, &|| false)?;
        }
        trainer.reports()?;
        Ok(())
    })?;
    Ok(together_ms / together as f64)
}

/// The median duration of a prediction for `images`, in milliseconds. The weights do not change, as when sampling.
fn predict_ms(config: &RunConfig, trainer: &Trainer, images: &Tensor, runs: u64) -> anyhow::Result<f64> {
    let weights = trainer.snapshot().ema_parameters.into_iter().map(|(name, weight)| (name, weight.detach())).collect();
    let network =
        Network::from_tensors(&config.model, &weights)?.with_precision(config.train.precision).with_packed_weights();
    let labels = synthetic_labels(config).map(|labels| Tensor::new(labels, &Device::Cpu)).transpose()?;
    let t = Tensor::full(config.diffusion.schedule.timesteps as f32 / 2.0, config.train.batch_size, &Device::Cpu)?;
    median_ms(runs, || {
        // Reading a value back waits for the device.
        network.forward(images, &t, labels.as_ref())?.flatten_all()?.get(0)?.to_scalar::<f32>()?;
        Ok(())
    })
}

/// The median duration of `run`, in milliseconds, over at least one run after the warm-up.
fn median_ms(runs: u64, mut run: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    for _ in 0..WARM_UP {
        run()?;
    }
    let mut times = Vec::new();
    for _ in 0..runs.max(1) {
        let start = Instant::now();
        run()?;
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    Ok(if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// The peak resident set size of the process, in MiB: VmHWM of Linux.
fn peak_rss_mib() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}
