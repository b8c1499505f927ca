//! From what was typed to everything a sampling needs, checked before it begins.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::{Device, Tensor};
use ddpm_checkpoint::{CheckpointError, SavedModel, find_model, newest_run, read_tensors};
use ddpm_cli::{Progress, usage};
use ddpm_diffusion::{Clipping, DiffusionError, GaussianDiffusion, Method, ReverseVariance, SamplerConfig};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::ScheduleConfig;
use ddpm_unet::{Network, NetworkConfig};
use tracing::info;

use crate::args::Args;

/// A sampling that can begin.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) model_path: PathBuf,
    /// Optimiser steps that the model has had.
    pub(crate) step: u64,
    pub(crate) network: Network,
    pub(crate) diffusion: GaussianDiffusion,
    pub(crate) sampler: SamplerConfig,
    pub(crate) seed: u64,
    /// Index of the first image.
    pub(crate) first: u64,
    pub(crate) batch_size: usize,
    /// Steps of the trained schedule between the moments that are kept of the first images.
    pub(crate) record_every: usize,
    /// x_T of every image, [image, channel, height, width], on the CPU; None where each is drawn from its own stream.
    latents: Option<Tensor>,
    /// Whether the images lie between the first and the one after it. All their noise does, not x_T alone: ancestral
    /// sampling has forgotten x_T long before its end.
    pub(crate) between: bool,
    number: usize,
    /// [channel, height, width].
    pub(crate) image_shape: [usize; 3],
}

/// Images that are sampled where nobody says how many.
const DEFAULT_NUMBER: usize = 16;
/// More images than anyone could want of one command.
const MOST: usize = 1_000_000;
/// The largest feature map of a batch, in values: 512 MiB. An allocation that fails ends the process without a word.
const MOST_VALUES: usize = 1 << 27;

impl Plan {
    pub(crate) fn new(args: &Args, device: &Device, progress: &Progress) -> anyhow::Result<Self> {
        let model = find_model(model_path(args.model.as_deref(), progress)?).map_err(|error| match error {
            CheckpointError::NotFound { .. } => usage(format!("MODEL: {error}")),
            error => error.into(),
        })?;
        let file = model.path.display().to_string();
        let (config, schedule): (NetworkConfig, ScheduleConfig) = (model.network()?, model.diffusion()?);
        let parameters = config.parameters().with_context(|| format!("{file}: field `network`"))?;
        check_description(&model, &config)?;
        model.check_without_classes()?;
        check_channels(&model)?;
        let shapes = parameters.into_iter().map(|(name, spec)| (name, spec.shape)).collect();
        model.check_names(&shapes)?;
        tell_own(&model, &schedule)?;
        let schedule = schedule.build().with_context(|| format!("{file}: field `diffusion`"))?;
        let diffusion = GaussianDiffusion::new(schedule).with_prediction(model.description.prediction);
        let sampler = sampler(args, &model, &diffusion)?;
        let learnt = matches!(sampler.variance, ReverseVariance::Learned | ReverseVariance::LearnedRange);
        let (channels, out) = (config.channels(), config.out_channels());
        if sampler.method == Method::Ddpm && learnt && out != 2 * channels {
            let from = if args.variance.is_some() { "--variance" } else { "field `sampler`: variance" };
            let kind = if sampler.variance == ReverseVariance::Learned { "learned" } else { "learned-range" };
            return Err(usage(format!(
                "{file}: {from}: {kind} is for networks with {} channels of output, found {out}; fixed-small and \
                 fixed-large are for any",
                2 * channels
            )));
        }
        let [height, width] = model.description.image_size;
        let image_shape = [model.description.channels, height, width];

        let latents = args.latents.as_deref().map(|path| read_latents(path, image_shape)).transpose()?;
        let number = number(args, latents.as_ref())?;
        if args.batch_size == 0 {
            return Err(usage("--batch-size: expected a number from 1, found 0"));
        }
        let latents = latents.map(|latents| latents.narrow(0, 0, number)).transpose()?;
        let last = u64::MAX - number as u64;
        if args.first > last {
            return Err(usage(format!("--first: expected at most {last}, found {}", args.first)));
        }
        let between = args.interpolate.is_some();
        // The way between two images is one batch: its noise is mixed of the same two streams.
        let asked = if between { number } else { args.batch_size.min(number) };
        let batch_size = asked.min((MOST_VALUES / config.largest_map()).max(1));
        if batch_size < asked && between {
            return Err(usage(format!("--interpolate: expected at most {batch_size} with this model, found {asked}")));
        }
        if batch_size < asked {
            info!("{batch_size} images are computed together: more of this size could exhaust the memory");
        }

        let on_device = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(device)?));
        let weights: BTreeMap<String, Tensor> = model.tensors.iter().map(on_device).collect::<anyhow::Result<_>>()?;
        Ok(Self {
            step: model.step(),
            network: Network::new(&config, &weights)
                .with_context(|| model.path.display().to_string())?
                .with_precision(args.precision.into())
                .with_packed_weights(),
            model_path: model.path,
            diffusion,
            sampler,
            seed: args.seed,
            first: args.first,
            batch_size,
            record_every: args.strip_every as usize,
            latents,
            between,
            number,
            image_shape,
        })
    }

    /// How many images there will be.
    pub(crate) fn images(&self) -> usize {
        self.number
    }

    /// The noise of the images `from..from + images`, after their x_T, and those x_T on the device.
    pub(crate) fn begin(&self, from: usize, images: usize, device: &Device) -> anyhow::Result<(ImageNoise, Tensor)> {
        let mut noise = if self.between {
            ImageNoise::interpolated(self.seed, Purpose::SamplingNoise, self.first, images)
        } else {
            ImageNoise::new(self.seed, Purpose::SamplingNoise, self.first + from as u64, images)
        };
        // Drawn in any case: the noise of the steps is the same whether x_T is given or not.
        let drawn = noise.draw(&self.image_shape, device)?;
        let latents = match &self.latents {
            Some(latents) => latents.narrow(0, from, images)?.to_device(device)?,
            None => drawn,
        };
        Ok((noise, latents))
    }
}

fn model_path(given: Option<&Path>, progress: &Progress) -> anyhow::Result<PathBuf> {
    match given {
        Some(path) => ddpm_cli::model_path("MODEL", path, progress),
        None => newest_run("runs")?.ok_or_else(|| {
            usage("no MODEL given, and no run with a checkpoint under runs/; train one with ddpm-train")
        }),
    }
}

/// Whether the description says the same of the images as the network does: what is sampled has the description's shape.
fn check_description(model: &SavedModel, config: &NetworkConfig) -> anyhow::Result<()> {
    let (description, size) = (&model.description, config.image_size());
    let size = [size.height, size.width];
    let wrong = |field: &str, expected: String, found: String| {
        let file = model.path.display();
        Err(anyhow::anyhow!("{file}: field `{field}`: expected {expected}, found {found}"))
    };
    if description.channels != config.channels() {
        let (expected, found) = (config.channels(), description.channels);
        return wrong("channels", format!("{expected} as the network has"), found.to_string());
    }
    if description.image_size != size {
        let found = description.image_size;
        return wrong("image_size", format!("{size:?} as the network has"), format!("{found:?}"));
    }
    if description.data_range != [-1.0, 1.0] {
        return wrong("data_range", "[-1, 1], the only one there is".into(), format!("{:?}", description.data_range));
    }
    Ok(())
}

/// Whether there are images of that many channels.
fn check_channels(model: &SavedModel) -> anyhow::Result<()> {
    let (channels, file) = (model.description.channels, model.network_path.display());
    let field = if model.network_path == model.path { "channels" } else { "in_channels" };
    anyhow::ensure!(
        [1, 3, 4].contains(&channels),
        "{file}: field `{field}`: expected 1, 3 or 4, the channels of an image, found {channels}"
    );
    Ok(())
}

/// Whether what was typed means something to the method that samples.
fn check_options(args: &Args, method: Method) -> anyhow::Result<()> {
    let noiseless = matches!(method, Method::Ddim | Method::Heun);
    for (flag, typed, read, methods) in [
        ("--eta", args.eta.is_some(), method == Method::Ddim, "ddim"),
        ("--order", args.order.is_some(), method.is_dpm_solver(), "dpm-solver and dpm-solver-sde"),
        ("--variance", args.variance.is_some(), method == Method::Ddpm, "ddpm"),
        ("--eps-after-clip", args.eps_after_clip.is_some(), noiseless, "ddim and heun"),
    ] {
        if typed && !read {
            let from = if args.sampler.is_some() { "--sampler" } else { "the model's own sampler," };
            return Err(usage(format!(
                "{flag}: expected a sampler that it changes ({methods}), found {from} {}",
                name(method)
            )));
        }
    }
    Ok(())
}

/// A choice of a configuration as it is written there: `DpmSolver` is `dpm-solver`.
pub(crate) fn name(choice: impl std::fmt::Debug) -> String {
    let mut name = String::new();
    for c in format!("{choice:?}").chars() {
        if c.is_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.extend(c.to_lowercase());
    }
    name
}

/// One line of what the model says itself, to which flags are exceptions.
fn tell_own(model: &SavedModel, config: &ScheduleConfig) -> anyhow::Result<()> {
    let own: SamplerConfig = model.sampler()?;
    let bound = match own.clip {
        Clipping::Fixed => format!("x_0 clipped to ±{}", own.clip_range),
        Clipping::Dynamic => format!("x_0 thresholded at {} up to {}", own.threshold_quantile, own.threshold_max),
        _ => "x_0 not clipped".to_owned(),
    };
    let zero = if config.zero_terminal_snr { ", zero terminal SNR" } else { "" };
    info!(
        "the model's own: {} in {} steps, {}, {bound}; it predicts {}; schedule {}, {} steps{zero}",
        name(own.method),
        own.steps,
        name(own.spacing),
        name(model.description.prediction),
        name(config.beta_schedule),
        config.timesteps
    );
    Ok(())
}

/// The model's own sampler with what was typed over it.
fn sampler(args: &Args, model: &SavedModel, diffusion: &GaussianDiffusion) -> anyhow::Result<SamplerConfig> {
    let timesteps = diffusion.schedule().len();
    let own: SamplerConfig = model.sampler()?;
    let (method, clip) = args.sampler.map_or((own.method, own.clip), |sampler| sampler.method_and_mean(own.clip));
    check_options(args, method)?;
    let sampler = SamplerConfig {
        method,
        eta: args.eta.unwrap_or(own.eta),
        order: args.order.unwrap_or(own.order),
        clip,
        eps_after_clip: args.eps_after_clip.map_or(own.eps_after_clip, Into::into),
        variance: args.variance.map_or(own.variance, Into::into),
        steps: args.steps.unwrap_or(own.steps),
        spacing: args.spacing.map_or(own.spacing, Into::into),
        ..own
    };
    if !(1..=timesteps).contains(&sampler.steps) {
        let found = sampler.steps;
        if args.steps.is_none() {
            let file = model.path.display();
            anyhow::bail!("{file}: field `sampler`: steps: expected 1 to {timesteps}, the schedule's, found {found}");
        }
        return Err(usage(format!(
            "--steps: expected 1 to {timesteps}, the steps of the model's schedule, found {found}"
        )));
    }
    // Before anything is computed: what is out of range is known now.
    sampler.respaced(diffusion).map_err(|error| {
        let typed = match &error {
            DiffusionError::Option { field, .. } => {
                (*field == "eta" && args.eta.is_some()) || (*field == "order" && args.order.is_some())
            }
            _ => false,
        };
        let from = if typed { "--".to_owned() } else { format!("{}: sampler: ", model.path.display()) };
        usage(format!("{from}{error}"))
    })?;
    Ok(sampler)
}

fn number(args: &Args, latents: Option<&Tensor>) -> anyhow::Result<usize> {
    let most = latents.map(|latents| latents.dim(0)).transpose()?;
    let between = args.interpolate.map(|n| usize::try_from(n).unwrap_or(usize::MAX));
    let number = between.or(args.number).or(most).unwrap_or(DEFAULT_NUMBER);
    if !(1..=most.unwrap_or(MOST)).contains(&number) {
        let most = most.map_or(MOST.to_string(), |most| format!("{most}, the latents there are"));
        return Err(usage(format!("-n: expected 1 to {most}, found {number}")));
    }
    Ok(number)
}

/// Tensor `latents` of a safetensors file.
fn read_latents(path: &Path, image_shape: [usize; 3]) -> anyhow::Result<Tensor> {
    let shown = path.display();
    let mut tensors = read_tensors(path).map_err(|error| usage(format!("--latents: {error}")))?;
    let names = tensors.keys().cloned().collect::<Vec<_>>().join(", ");
    let latents = tensors
        .remove("latents")
        .ok_or_else(|| usage(format!("--latents {shown}: expected a tensor named latents, found {names}")))?;
    let [channels, height, width] = image_shape;
    if latents.rank() != 4 || latents.dims()[1..] != image_shape || latents.dims()[0] == 0 {
        let found = latents.dims();
        return Err(usage(format!("--latents {shown}: expected [n, {channels}, {height}, {width}], found {found:?}")));
    }
    Ok(latents)
}
