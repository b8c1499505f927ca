//! A training session: the run directory is opened, the state is restored and the remaining steps are taken.

use anyhow::Context;
use candle_core::Device;
use ddpm_checkpoint::{Checkpoint, RunDir};
use ddpm_cli::{ExitReason, Job, LongWork, Progress, StopSignal, describe_device, grouped, pluralize, usage_error};
use ddpm_data::{BatchShare, CacheConfig, DataError, ImageSource, Loader, LoaderConfig};
use ddpm_diffusers::write_pipeline;
use ddpm_trainer::{
    ClassLabels, Outcome, Preview, PreviewOutcome, Snapshot, Trainer, TrainingBatch, Validation, save_checkpoint,
};
use tracing::{info, warn};

use crate::briefing::Briefing;
use crate::cache_progress::CacheProgress;
use crate::config_changes::{ConfigChange, KeyEffect, config_changes, warn_of_changed_length};
use crate::history::{HistoryEntry, save_config};
use crate::hub::Upload;
use crate::model::{Init, new_model};
use crate::model_description::describe_model;
use crate::opened_run::{OpenedRun, RunProgress};
use crate::origin::Origin;
use crate::out_of_memory;
use crate::previews::{preview, preview_is_missing};
use crate::results::{forget_pipeline, record_pipeline, record_results, results_are_complete};
use crate::run_classes::{RunClasses, check_same_classes};
use crate::run_config::RunConfig;
use crate::run_images::RunImages;
use crate::run_observer::RunObserver;
use crate::run_request::RunRequest;
use crate::slow_average::warn_of_slow_average;
use crate::start::Start;
use crate::training_data::{check_data, stored};

/// The device, the threads and the progress display of a session.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Runtime<'a> {
    pub(crate) device: &'a Device,
    pub(crate) threads: usize,
    pub(crate) progress: &'a Progress,
    pub(crate) job: &'a Job,
}

/// Trains the run that `request` specifies until its last step or a signal. A finished run is uploaded with `upload`.
/// `accept_new_data` lets a run continue with other images than those of its checkpoint. `preparing` ends when the
/// other ranks can begin.
pub(crate) fn train(
    request: RunRequest,
    config: &RunConfig,
    init: Option<Init>,
    upload: Option<&Upload>,
    accept_new_data: bool,
    runtime: Runtime<'_>,
    preparing: LongWork,
) -> anyhow::Result<ExitReason> {
    let stop = StopSignal::install_for(runtime.job)?;
    let mut config = config.clone();
    let images = RunImages::open(&mut config, runtime.progress)?;
    let source = images.training.as_ref();
    let classes = RunClasses::resolve(&mut config, source.labels(), init.is_some())?;
    images.check(&config)?;
    let config = &config;
    let total_steps = total_steps(config, source)?;
    if let Some(init) = &init {
        init.check(&config.model)?;
    }
    let fingerprint = source.fingerprint();
    let mut opened = OpenedRun::open(request, config, total_steps, fingerprint.as_ref())?;
    log_summary(config, &images, &opened.run, runtime)?;
    let start = Start::resolve(&opened, init)?;
    let new_data = match (&start, &fingerprint) {
        (Start::Resume { checkpoint, .. }, Some(present)) => {
            check_data(&checkpoint.state, present, &config.data.path, opened.run.path(), accept_new_data)?
        }
        _ => None,
    };
    if let Start::Resume { checkpoint, .. } = &start {
        check_same_classes(classes.as_ref(), &checkpoint.description)?;
    }
    if let Some(classes) = &classes {
        classes.log();
    }
    let labels = classes.as_ref().map(RunClasses::labels);
    let mut trainer = restore(config, &start, labels, total_steps, runtime)?;
    check_length(&trainer, &opened.run)?;
    trainer.set_data(fingerprint.as_ref().map(stored).transpose()?);
    let history = changes_of_session(config, &opened, &trainer, new_data, source.len())?;
    // The directory becomes a run only here, so that a run that cannot start leaves nothing behind.
    record_start(config, classes.as_ref(), &mut opened, &start, &trainer, history)?;
    drop(start);
    let (run, progress, job) = (opened.run, runtime.progress, runtime.job);
    let mut session = Session { config, classes, run, images, trainer, stop, progress, job };
    match session.is_finished()? {
        true => {
            drop(preparing);
            Briefing::send(None, job)?;
            session.report_finished(upload)
        }
        false => {
            warn_of_slow_average(&config.train, total_steps);
            session.run(upload, preparing)
        }
    }
}

/// The steps of the whole run. They may be given as epochs, whose length depends on the number of images.
fn total_steps(config: &RunConfig, source: &dyn ImageSource) -> anyhow::Result<u64> {
    let (images, batch) = (source.len(), config.train.batch_size);
    if images < batch {
        let path = &config.data.path;
        return Err(usage_error(format!(
            "train.batch_size: expected at most the {images} images of {path}, found {batch}: --batch-size {images} \
             takes them all"
        )));
    }
    Ok(config.train.total_steps((images / batch) as u64))
}

fn log_summary(config: &RunConfig, images: &RunImages, run: &RunDir, runtime: Runtime<'_>) -> anyhow::Result<()> {
    let (size, parameters) = (config.model.image_size(), config.model.parameter_count()?);
    let color = match config.model.channels() {
        1 => "gray",
        3 => "color",
        _ => "color with alpha",
    };
    let held_out = images.held_out.as_ref().map_or(0, |images| images.len());
    let count = images.training.len() + if config.data.holdout.is_some() { 0 } else { held_out };
    let (count, path) = (pluralize(count, "image"), &config.data.path);
    let note = match (held_out, &config.data.holdout) {
        (0, _) => String::new(),
        (_, Some(path)) => format!("; {} from {path} are held out", pluralize(held_out, "image")),
        _ => format!("; {} of them are held out, to compare the loss on them", grouped(held_out)),
    };
    info!("{count} from {path}, converted to {size} in {color}{note}");
    let device = describe_device(runtime.device, runtime.threads);
    let each = if runtime.job.is_alone() { "" } else { " each" };
    info!("a network of {} on {device}{each}", pluralize(parameters, "parameter"));
    if let Some(ranks) = runtime.job.description() {
        info!("{ranks}");
    }
    info!("the run directory is {}", run.path().display());
    Ok(())
}

/// Builds the network and the trainer, and puts them into the state that the session starts from.
fn restore(
    config: &RunConfig,
    start: &Start,
    classes: Option<ClassLabels>,
    total_steps: u64,
    runtime: Runtime<'_>,
) -> anyhow::Result<Trainer> {
    let device = runtime.device;
    let init = match start {
        Start::FromModel(init) => Some(init),
        Start::Fresh | Start::Resume { .. } => None,
    };
    let model = new_model(&config.model, init, &config.train, classes, device)?;
    let diffusion = config.diffusion.build()?;
    let trainer = Trainer::new(config.train.clone(), total_steps, diffusion, model, device.clone())?;
    let mut trainer = trainer.with_communicator(runtime.job.communicator().clone())?;
    if let Start::Resume { checkpoint, .. } = start {
        let Checkpoint { model, training, state, .. } = checkpoint.clone();
        let state = serde_json::from_value(state).context("the checkpoint's state.json")?;
        let restored = trainer.restore(&Snapshot { ema_parameters: model, training, state });
        restored.map_err(|error| usage_error(format!("cannot continue from the checkpoint: {error}")))?;
        if checkpoint.step < total_steps {
            info!("the run continues from step {} to {total_steps}", checkpoint.step);
        }
    }
    Ok(trainer)
}

fn check_length(trainer: &Trainer, run: &RunDir) -> anyhow::Result<()> {
    let (step, total_steps, run) = (trainer.state().step, trainer.total_steps(), run.path().display());
    if step > total_steps {
        return Err(usage_error(format!(
            "train.steps: expected at least the {step} that {run} has done, found {total_steps}"
        )));
    }
    Ok(())
}

/// Logs what the session changes in the configuration of the run, and returns it. `new_data` is the change of its
/// images, of which there are now `images`.
fn changes_of_session(
    config: &RunConfig,
    opened: &OpenedRun,
    trainer: &Trainer,
    new_data: Option<ConfigChange>,
    images: usize,
) -> anyhow::Result<Vec<HistoryEntry>> {
    let (run, step) = (&opened.run, trainer.state().step);
    if matches!(opened.progress, RunProgress::New { .. }) {
        return Ok(new_data.into_iter().map(|change| HistoryEntry::new(step, change)).collect());
    }
    let changes = config_changes(run, config)?;
    for change in changes.iter().filter(|change| change.effect() == KeyEffect::Result) {
        info!("the run continues with {change} from step {step} on");
    }
    if step > 0 {
        warn_of_changed_length(run, &config.train, step, (images / config.train.batch_size) as u64)?;
    }
    Ok(changes.into_iter().chain(new_data).map(|change| HistoryEntry::new(step, change)).collect())
}

/// Writes down what the run starts from: its origin, its configuration and its first checkpoint. From then on the run
/// directory is sufficient to continue the run.
///
/// If the session is stopped before the first checkpoint is saved, the next one starts from the origin again.
fn record_start(
    config: &RunConfig,
    classes: Option<&RunClasses>,
    opened: &mut OpenedRun,
    start: &Start,
    trainer: &Trainer,
    history: Vec<HistoryEntry>,
) -> anyhow::Result<()> {
    let run = &mut opened.run;
    if let RunProgress::New { .. } = opened.progress {
        Origin::record(start.origin().as_ref(), run)?;
    }
    save_config(run, config, history)?;
    match start {
        Start::Fresh => {}
        Start::FromModel(_) => drop(save_checkpoint(trainer, run, &|step| describe_model(config, classes, step))?),
        Start::Resume { checkpoint, .. } if run.checkpoints()?.is_empty() => drop(run.save_checkpoint(checkpoint)?),
        Start::Resume { .. } => {}
    }
    Ok(())
}

/// A run in the state of its next step.
struct Session<'a> {
    config: &'a RunConfig,
    classes: Option<RunClasses>,
    run: RunDir,
    images: RunImages,
    trainer: Trainer,
    stop: StopSignal,
    progress: &'a Progress,
    job: &'a Job,
}

impl Session<'_> {
    /// Whether all steps are done and their results are complete.
    fn is_finished(&self) -> anyhow::Result<bool> {
        let done = self.trainer.state().step >= self.trainer.total_steps();
        Ok(done && !self.preview_is_missing() && results_are_complete(self.run.path(), self.config.has_pipeline())?)
    }

    fn preview_is_missing(&self) -> bool {
        preview_is_missing(self.config, &self.run, self.trainer.state().step, self.trainer.total_steps())
    }

    /// Logs that an earlier session finished the run and how to make it longer. With `upload`, it is uploaded again.
    fn report_finished(&self, upload: Option<&Upload>) -> anyhow::Result<ExitReason> {
        let (run, step, total_steps) = (self.run.path(), self.trainer.state().step, self.trainer.total_steps());
        info!("{} has finished its {total_steps} steps; --steps extends it, --out starts another run", run.display());
        if let Some(upload) = upload {
            upload.send(run, step, self.progress)?;
        }
        Ok(ExitReason::Completed)
    }

    /// Takes the remaining steps, and writes the results of the run. `preparing` ends when the other ranks can begin.
    fn run(&mut self, upload: Option<&Upload>, preparing: LongWork) -> anyhow::Result<ExitReason> {
        // From here on, a signal must let the session save its state.
        self.stop.stop_gracefully();
        let stop = self.stop.clone();
        let stopped = || stop.received().is_some();
        let validation = self.images.validation(self.config)?;
        let briefing = self.briefing(validation.as_ref())?;
        drop(preparing);
        Briefing::send(Some(&briefing), self.job)?;
        self.trainer.restore_from_rank_0()?;
        let mut loader = loader(self.config, &self.images, &self.trainer)?;
        let cache = loader.cache();
        let (alone, has_classes) = (self.job.is_alone(), self.classes.is_some());
        let canceled = || alone && stopped();
        let mut batches = std::iter::from_fn(|| next_batch(&mut loader, &canceled, has_classes));
        let (first_step, total_steps) = (self.trainer.state().step, self.trainer.total_steps());
        let (train, progress) = (&self.config.train, self.progress);
        let mut observer = RunObserver::new(&self.run, train, first_step, total_steps, progress, stop.clone())?;
        if let Some(classes) = &self.classes {
            observer.show_classes(classes.names().map(str::to_owned).collect());
        }
        if let Some(cache) = cache {
            let images = self.images.training.len();
            let epoch_steps = images.div_ceil(train.batch_size * train.gradient_accumulation_steps) as u64;
            observer.follow_cache(CacheProgress::new(cache, images, first_step + epoch_steps, progress));
        }
        if self.preview_is_missing() && !self.draw_missing_preview(&mut observer, &stopped)? {
            observer.finish(Outcome::Stopped, first_step)?;
            return Ok(stop.received().map_or(ExitReason::Completed, ExitReason::Signal));
        }
        let (config, classes, preview) = (self.config, self.classes.clone(), self.preview());
        let describe = |step| describe_model(config, classes.as_ref(), step);
        let outcome = ddpm_trainer::train(
            &mut self.trainer,
            &mut batches,
            Some(&mut self.run),
            &preview,
            validation.as_ref(),
            &describe,
            &mut observer,
        )
        .map_err(|error| out_of_memory::advise(error.into(), &self.trainer, config))?;
        let undecodable = self.undecodable_of_all(loader.undecodable())?;
        // The others have nothing left to do and wait for the end of the job.
        let _working = self.job.communicator().long_work();
        self.write_pipeline()?;
        ddpm_data::update_evolution_gif(&self.run.samples_path())?;
        match outcome {
            // Nothing was left to train: an earlier session was stopped before its results were complete.
            Outcome::Finished if first_step == total_steps => observer.finish_results()?,
            _ => observer.finish(outcome, self.trainer.state().step)?,
        }
        record_results(self.run.path())?;
        warn_of_undecodable(undecodable);
        if let (Some(upload), Outcome::Finished) = (upload, outcome) {
            upload.send(self.run.path(), total_steps, self.progress)?;
        }
        Ok(match (outcome, stop.received()) {
            (Outcome::Stopped, Some(signal)) => ExitReason::Signal(signal),
            _ => ExitReason::Completed,
        })
    }

    fn preview(&self) -> Preview {
        preview(self.config, self.classes.as_ref())
    }

    /// What the other ranks need to know. They decode no images for validations, so the interval of `validation` takes
    /// its place.
    fn briefing(&self, validation: Option<&Validation>) -> anyhow::Result<Briefing> {
        let mut config = self.config.clone();
        let interval = validation.map_or(0, |validation| validation.interval(&self.config.train));
        config.train.validate_every_steps = Some(interval);
        Ok(Briefing {
            config: config.to_toml()?,
            images: self.images.training.fingerprint().as_ref().map(stored).transpose()?,
            total_steps: self.trainer.total_steps(),
            draws_missing_preview: self.preview_is_missing(),
        })
    }

    /// The number of undecodable images that all ranks have found, of which this one has found `own`.
    fn undecodable_of_all(&self, own: usize) -> anyhow::Result<usize> {
        let of_all = self.job.communicator().gather((own as u64).to_le_bytes().to_vec())?.unwrap_or_default();
        let count = |bytes: &Vec<u8>| bytes.as_slice().try_into().map_or(0, u64::from_le_bytes) as usize;
        Ok(of_all.iter().map(count).sum())
    }

    /// Samples the preview that an earlier session was stopped before. Returns false if a signal stops the sampling.
    fn draw_missing_preview(&self, observer: &mut RunObserver, stopped: &dyn Fn() -> bool) -> anyhow::Result<bool> {
        let drawn = self.preview().sample(&self.trainer, stopped);
        match drawn.map_err(|error| out_of_memory::advise(error.into(), &self.trainer, self.config))? {
            PreviewOutcome::Images(images) => observer.write_preview(self.trainer.state().step, &images).map(|()| true),
            PreviewOutcome::OnRank0 | PreviewOutcome::Stopped => Ok(false),
        }
    }

    /// Writes the model with the EMA of the weights as a pipeline of diffusers, if diffusers has its network.
    fn write_pipeline(&self) -> anyhow::Result<()> {
        if self.config.has_pipeline() {
            let snapshot = self.trainer.snapshot();
            let pipeline = self.run.path().join("pipeline");
            forget_pipeline(self.run.path())?;
            let description = describe_model(self.config, self.classes.as_ref(), snapshot.state.step)?;
            write_pipeline(&pipeline, &description, &snapshot.ema_parameters)?;
            record_pipeline(self.run.path())?;
            info!("pipeline for diffusers: {}", pipeline.display());
        }
        Ok(())
    }
}

/// The batches from the trainer's position on, or this rank's share of them.
pub(crate) fn loader(config: &RunConfig, images: &RunImages, trainer: &Trainer) -> anyhow::Result<Loader> {
    let RunConfig { model, data, train, .. } = config;
    let size = model.image_size();
    let mut config = LoaderConfig::new(data, train.batch_size, train.seed, model.channels(), [size.height, size.width]);
    config.cache = CacheConfig::new(data);
    let (rank, ranks) = (trainer.communicator().rank() as u64, trainer.communicator().size() as u64);
    config.share = BatchShare { batches_per_step: train.gradient_accumulation_steps as u64, rank, ranks };
    Loader::new(images.training.clone(), config, trainer.state().batches).context("the training data")
}

/// The next batch of the loader for the trainer, with its labels if the network is conditioned on them. `None` if
/// `canceled` returns true while it is not ready.
pub(crate) fn next_batch(
    loader: &mut Loader,
    canceled: &dyn Fn() -> bool,
    has_classes: bool,
) -> Option<Result<TrainingBatch, DataError>> {
    let batch = loader.next_unless(canceled)?;
    Some(batch.map(|batch| TrainingBatch { images: batch.images, labels: batch.labels.filter(|_| has_classes) }))
}

fn warn_of_undecodable(images: usize) {
    match images {
        0 => {}
        1 => warn!("1 image could not be decoded and was replaced by another one; a warning above names it"),
        _ => warn!("{images} images could not be decoded and were replaced by others; warnings above name them"),
    }
}
