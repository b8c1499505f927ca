//! One training session: everything opened in order, then the loop.

use std::path::Path;

use anyhow::Context;
use candle_core::Device;
use ddpm_checkpoint::{Checkpoint, ModelDescription, RunDir};
use ddpm_cli::{Ended, Progress, StopSignal, counted, device_in_words, usage};
use ddpm_data::{DataError, ImageSource, Loader, LoaderConfig};
use ddpm_diffusers::write_pipeline;
use ddpm_trainer::{Outcome, Preview, Snapshot, Trainer, TrainerError, save_checkpoint};
use ddpm_unet::NetworkConfig;
use tracing::{info, warn};

use crate::config::RunConfig;
use crate::diffusion_config::DiffusionConfig;
use crate::hub::{self, Push};
use crate::model::{Init, new_model};
use crate::out_of_memory;
use crate::run_choice::{Opened, Origin, Request, initialised_from, warn_of_other_length};
use crate::watch::{Watch, grid_path};

/// Trains as the configuration says, from the beginning or from where the run stopped.
pub(crate) fn train(
    request: Request,
    config: &RunConfig,
    init: Option<Init>,
    push: Option<&Push>,
    device: &Device,
    threads: usize,
    progress: &Progress,
) -> anyhow::Result<Ended> {
    let stop = StopSignal::listen()?;
    let source = hub::open(&config.data, progress)?;
    let total_steps = total_steps(config, source.as_ref())?;
    if let Some(init) = &init {
        init.check(&config.model)?;
    }
    let Opened { mut run, origin, new } = request.open(config, total_steps)?;
    greet(config, source.as_ref(), device, threads, &run)?;
    let (checkpoint, init) = match origin {
        Some(Origin::Checkpoint(path)) => (Some(path), init),
        Some(Origin::Model(path)) if init.is_none() => (None, Some(Init::find(path)?)),
        _ => (None, init),
    };
    let diffusion = config.diffusion.build()?;
    let model = new_model(&config.model, init.as_ref(), &config.train, device)?;
    let mut trainer = Trainer::new(config.train.clone(), total_steps, diffusion, model, device.clone())?;
    let restored = restore(&mut trainer, &run, checkpoint.as_deref())?;
    let done = trainer.state().step;
    if done > total_steps {
        let run = run.path().display();
        return Err(usage(format!(
            "train.steps: expected at least the {done} that {run} has done, found {total_steps}"
        )));
    }
    if !new {
        warn_of_other_length(&run, config)?;
    }
    // Not before: a run that cannot begin leaves none behind. It has begun with its configuration; where it is stopped
    // before it has a checkpoint of its own, it begins from its origin again.
    if new {
        let init = init.as_ref().map(|init| Origin::Model(init.path.clone()));
        Origin::save(checkpoint.map(Origin::Checkpoint).or(init).as_ref(), &run)?;
    }
    run.save_config(&config.to_toml()?)?;
    match &restored {
        Some(restored) if run.checkpoints()?.is_empty() => drop(run.save_checkpoint(restored)?),
        None if !new && init.is_none() => {
            warn!("{} has no checkpoint: it begins from its first step", run.path().display())
        }
        _ => {}
    }
    if let (Some(init), None) = (&init, &restored) {
        info!("begins with the weights of {}", init.path.display());
        // From here on the run stands on its own.
        save_checkpoint(&trainer, &mut run, &|step| describe(config, step))?;
    }
    if let (Some(init), Some(restored), false) = (&init, &restored, new)
        && !initialised_from(run.path(), &init.path)
    {
        let (run, step) = (run.path().display(), restored.step);
        warn!(
            "--init has no effect: {run} goes on from its own step {step}; give another --out to begin with that model"
        );
    }
    drop(restored);
    let first_step = trainer.state().step;
    let preview = preview(config);
    let undrawn = preview_is_missing(config, &run, first_step, total_steps);
    if first_step >= total_steps && !undrawn {
        let path = run.path().display();
        info!("{path} has done its {total_steps} steps; --steps gives it more, --out begins another");
        if let Some(push) = push {
            push.send(run.path(), first_step, progress)?;
        }
        return Ok(Ended::Done);
    }

    // Until here there was nothing to save.
    stop.defer();
    let size = config.model.image_size();
    let (batch_size, seed, channels) = (config.train.batch_size, config.train.seed, config.model.channels());
    let loading = LoaderConfig::new(&config.data, batch_size, seed, channels, [size.height, size.width]);
    let mut loader = Loader::new(source, loading, trainer.state().batches).map_err(data_error)?;
    let stopped = || stop.received().is_some();
    let mut batches = std::iter::from_fn(|| Some(loader.next_unless(&stopped)?.map(|batch| batch.images)));
    let describe = |step| describe(config, step);
    let mut watch = Watch::new(&run, first_step, total_steps, progress, stop.clone())?;
    if undrawn {
        let drawn = preview.draw(&trainer, &stopped);
        match drawn.map_err(|error| out_of_memory::advise(error.into(), &trainer, config))? {
            Some(images) => watch.preview(first_step, &images)?,
            None => return Ok(stop.received().map_or(Ended::Done, Ended::BySignal)),
        }
    }
    let outcome = ddpm_trainer::train(&mut trainer, &mut batches, &mut run, &preview, &describe, &mut watch)
        .map_err(|error| out_of_memory::advise(error.into(), &trainer, config))?;
    if matches!(config.model, NetworkConfig::UNet2d(_)) {
        let snapshot = trainer.snapshot();
        let pipeline = run.path().join("pipeline");
        write_pipeline(&pipeline, &describe(snapshot.state.step)?, &snapshot.averages)?;
        info!("for diffusers: {}", pipeline.display());
    }
    watch.finish(outcome)?;
    match loader.undecodable() {
        0 => {}
        1 => warn!("1 image could not be decoded, and others took its place: it is named above"),
        bad => warn!("{bad} images could not be decoded, and others took their place: each is named above"),
    }
    if let (Some(push), Outcome::Finished) = (push, outcome) {
        push.send(run.path(), total_steps, progress)?;
    }
    Ok(match (outcome, stop.received()) {
        (Outcome::Stopped, Some(signal)) => Ended::BySignal(signal),
        _ => Ended::Done,
    })
}

/// The images that show how the run goes.
fn preview(config: &RunConfig) -> Preview {
    let size = config.model.image_size();
    Preview {
        images: config.sample.preview_images,
        image_shape: [config.model.channels(), size.height, size.width],
        sampler: config.sample.preview_sampler(),
        seed: config.train.seed,
    }
}

/// Whether a signal came before the images of the step that the run goes on from.
fn preview_is_missing(config: &RunConfig, run: &RunDir, step: u64, total_steps: u64) -> bool {
    let every = config.train.sample_every_steps;
    let due = step == total_steps || (every > 0 && step > 0 && step.is_multiple_of(every));
    config.sample.preview_images > 0 && due && !grid_path(&run.samples_path(), step).exists()
}

/// The steps of the whole run, which may be given as passes over data of a size that only its source knows.
fn total_steps(config: &RunConfig, source: &dyn ImageSource) -> anyhow::Result<u64> {
    let (images, batch) = (source.len(), config.train.batch_size);
    if images < batch {
        let path = &config.data.path;
        return Err(usage(format!(
            "train.batch_size: expected at most the {images} images of {path}, found {batch}: --batch-size {images} takes them all"
        )));
    }
    Ok(config.train.total_steps((images / batch) as u64))
}

/// An empty set or a wrong path is a matter of usage.
fn data_error(error: DataError) -> anyhow::Error {
    anyhow::Error::new(error).context("the training data")
}

/// Takes up the checkpoint that was asked for, or the newest of the run.
fn restore(trainer: &mut Trainer, run: &RunDir, checkpoint: Option<&Path>) -> anyhow::Result<Option<Checkpoint>> {
    let checkpoint = match checkpoint {
        Some(path) => Some(Checkpoint::load(path)?),
        None => run.load_latest()?,
    };
    let Some(checkpoint) = checkpoint else { return Ok(None) };
    let state = serde_json::from_value(checkpoint.state.clone()).context("the checkpoint's state.json")?;
    let snapshot = Snapshot { averages: checkpoint.model.clone(), training: checkpoint.training.clone(), state };
    trainer.restore(&snapshot).map_err(|error| usage(format!("cannot go on from the checkpoint: {error}")))?;
    if checkpoint.step < trainer.total_steps() {
        info!("goes on from step {} to {}", checkpoint.step, trainer.total_steps());
    }
    Ok(Some(checkpoint))
}

/// What a model file of this run is the model of.
fn describe(config: &RunConfig, step: u64) -> Result<ModelDescription, TrainerError> {
    let size = config.model.image_size();
    let (model, sampler) = (&config.model, config.sample.sampler);
    let size = [size.height, size.width];
    let DiffusionConfig { schedule, prediction } = &config.diffusion;
    Ok(ModelDescription::new(model, schedule, *prediction, &sampler, model.channels(), size, step)?)
}

fn greet(
    config: &RunConfig,
    source: &dyn ImageSource,
    device: &Device,
    threads: usize,
    run: &RunDir,
) -> anyhow::Result<()> {
    let (size, parameters) = (config.model.image_size(), config.model.parameter_count()?);
    let colour = match config.model.channels() {
        1 => "grey",
        3 => "colour",
        _ => "colour with alpha",
    };
    info!("{} from {}, as {size} in {colour}", counted(source.len(), "image"), config.data.path);
    info!("{}, on {}", counted(parameters, "parameter"), device_in_words(device, threads));
    info!("writes to {}", run.path().display());
    Ok(())
}
