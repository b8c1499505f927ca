//! The training loop: steps, metrics, checkpoints and previews, in this order.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use ddpm_checkpoint::{Checkpoint, MetricsLog, ModelDescription, Retention, RunDir, read_metrics};

use crate::error::TrainerError;
use crate::observer::{Event, Observer};
use crate::preview::{Preview, PreviewOutcome};
use crate::step_report::{Interval, StepReport};
use crate::train_config::TrainConfig;
use crate::trainer::{StepOutcome, Trainer};
use crate::training_batch::TrainingBatch;
use crate::validation::{Validation, ValidationLine};
use crate::validation_history::ValidationHistory;

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps were taken.
    Finished,
    /// The observer stopped the run. Its state is saved.
    Stopped,
    /// The run ended early because the held-out loss rose: `train.stop_when_overfit`. Its state is saved.
    Overfit,
}

/// Trains from the present state of `trainer` to its last step and writes metrics and checkpoints to `run`.
///
/// Of the ranks of a job ([`Trainer::with_communicator`]), rank 0 is given `run`, and writes, validates and notifies
/// its observer. The others are given `None`: they take their share of the steps and sample their share of the
/// previews, and of their observer only `should_stop` is called. They must have the same `train.validate_every_steps`
/// as the interval of `validation`. If any rank is asked to stop, all stop after the same step.
///
/// Batches are tensors, or a [`TrainingBatch`] for a network that is conditioned on classes. `describe` returns the
/// description that a model file of the given step contains. Metrics and checkpoints of `run` that belong to later
/// steps than the present one, from a session that went further, are removed first.
///
/// # Errors
/// When the data, a file, the observer or a tensor operation fails, or the loss is not finite for
/// [`TrainConfig::max_skipped_steps`] steps in a row. Checkpoints that were written before stay intact.
pub fn train<B, E>(
    trainer: &mut Trainer,
    batches: &mut dyn Iterator<Item = Result<B, E>>,
    mut run: Option<&mut RunDir>,
    preview: &Preview,
    validation: Option<&Validation>,
    describe: &dyn Fn(u64) -> Result<ModelDescription, TrainerError>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainerError>
where
    B: Into<TrainingBatch>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let config = trainer.config().clone();
    let total_steps = trainer.total_steps();
    let is_due = |every_steps: u64, step: u64| every_steps > 0 && step.is_multiple_of(every_steps);
    // The first and the last step are always logged, so that a short run has a loss curve too.
    let is_logged = |step: u64| is_due(config.log_every_steps, step) || step == 1 || step == total_steps;

    let communicator = trainer.communicator().clone();
    let alone = communicator.size() == 1;
    let validation_every = match (validation, &run) {
        (Some(validation), _) => validation.interval(&config),
        (None, Some(_)) => 0,
        (None, None) => config.validate_every_steps.unwrap_or(0),
    };
    let mut records = run.as_deref_mut().map(|run| Records::open(run, trainer, &config)).transpose()?;

    let mut interval = Interval::default();
    let mut checkpoint_due = false;
    while trainer.state().step < total_steps {
        // Step. On a GPU it may still be running when this call returns.
        let outcome = trainer.step(batches, &|| observer.should_stop())?;
        let taken = outcome == StepOutcome::Taken;
        let step = trainer.state().step;
        let last = step == total_steps;

        // The actions that are due after this step. Reports are only needed for these, so a GPU may run ahead until
        // then.
        let stop = trainer.stops_after_step(observer.should_stop());
        checkpoint_due |= taken && is_due(config.checkpoint_every_steps, step);
        let averages_due =
            taken && config.power_ema_every_steps > 0 && (is_due(config.power_ema_every_steps, step) || last);
        let preview_due = taken && preview.images > 0 && (is_due(config.sample_every_steps, step) || last);
        let validation_due = taken && validation_every > 0 && (is_due(validation_every, step) || last);
        let reports_due =
            !taken || is_logged(step) || stop || checkpoint_due || averages_due || validation_due || preview_due;
        if !reports_due && trainer.can_run_ahead() {
            continue;
        }

        // Metrics.
        let mut skipped = false;
        for report in trainer.reports()? {
            if let (Some(run), Some(records)) = (run.as_deref_mut(), &mut records) {
                interval.add(&report);
                if is_logged(report.step) {
                    records.metrics.append(&interval.finish(&report))?;
                    notify(observer, Event::Logged(&report))?;
                }
                notify(observer, Event::Step(&report))?;
                if report.skipped_in_a_row >= config.max_skipped_steps {
                    return Err(diverged(&report, Some(run))?);
                }
            } else if report.skipped_in_a_row >= config.max_skipped_steps {
                return Err(diverged(&report, None)?);
            }
            skipped = report.skipped;
        }
        if !taken {
            if let Some(run) = run {
                save_checkpoint(trainer, run, describe)?;
            }
            return Ok(Outcome::Stopped);
        }

        // What rank 0 alone does while the others wait for it.
        let working = (averages_due || validation_due).then(|| communicator.long_work());

        // Averages for post-hoc EMA, before the checkpoint: a run that continues from it finds them.
        if let (Some(run), true) = (run.as_deref_mut(), averages_due) {
            run.save_averages(step, &trainer.power_averages())?;
        }

        // Validation, also before the checkpoint, so that a run that continues from it knows the result.
        let mut overfit = false;
        if let Some(records) = records.as_mut().filter(|_| validation_due) {
            let asked = || alone && observer.should_stop();
            let report = validation.map(|validation| validation.evaluate(trainer, &asked)).transpose()?.flatten();
            if let Some(report) = report {
                records.metrics.append(&ValidationLine { step, validation: report })?;
                records.history.push(report);
                notify(observer, Event::Validated(&report))?;
            }
            overfit = config.stop_when_overfit && !last && records.history.is_overfit();
        }
        drop(working);
        if config.stop_when_overfit && validation_due {
            overfit = communicator.broadcast(vec![u8::from(overfit)])? == [1];
        }

        // Checkpoint. While steps are skipped, the weights may be damaged beyond repair: a due checkpoint waits for a
        // step that is not skipped, and until then no older checkpoint is removed.
        let stop = stop || (alone && observer.should_stop());
        if (checkpoint_due && !skipped) || last || stop || overfit {
            trainer.check_same_weights()?;
            if let (Some(run), Some(records)) = (run.as_deref_mut(), &records) {
                let _working = communicator.long_work();
                let path = save_checkpoint(trainer, run, describe)?;
                if records.history.is_better(step, run.best_step()) {
                    run.keep_as_best(step)?;
                }
                if !skipped {
                    run.prune(&retention(&config))?;
                }
                notify(observer, Event::Checkpoint { step, path: &path })?;
            }
            checkpoint_due = false;
        }
        if stop && !last {
            return Ok(Outcome::Stopped);
        }
        if overfit {
            return Ok(Outcome::Overfit);
        }

        // Preview.
        if preview_due {
            if run.is_some() {
                let (images, sampler_steps) = (preview.images, preview.sampler.steps);
                notify(observer, Event::PreviewStarted { images, sampler_steps })?;
            }
            match preview.sample(trainer, &|| observer.should_stop())? {
                PreviewOutcome::Images(images) => notify(observer, Event::Preview { step, images: &images })?,
                PreviewOutcome::OnRank0 => {}
                PreviewOutcome::Stopped => {
                    // The last step already has its checkpoint.
                    if let (Some(run), false) = (run, last) {
                        save_checkpoint(trainer, run, describe)?;
                    }
                    return Ok(Outcome::Stopped);
                }
            }
        }
    }
    Ok(Outcome::Finished)
}

/// What a run has recorded so far.
struct Records {
    metrics: MetricsLog,
    history: ValidationHistory,
}

impl Records {
    /// The records of `run` up to the present step of `trainer`. What belongs to later steps is removed.
    fn open(run: &mut RunDir, trainer: &Trainer, config: &TrainConfig) -> Result<Self, TrainerError> {
        let step = trainer.state().step;
        let metrics = run.metrics(step)?;
        let lines: Vec<ValidationLine> = read_metrics(run.metrics_path())?;
        let history = ValidationHistory::new(lines.into_iter().map(|line| line.validation).collect());
        run.discard_checkpoints_after(step)?;
        run.discard_averages_after(step)?;
        if trainer.state().skipped_in_a_row == 0 {
            // An earlier session may have been killed between a checkpoint and the removal of older ones.
            run.prune(&retention(config))?;
        }
        Ok(Self { metrics, history })
    }
}

fn notify(observer: &mut dyn Observer, event: Event<'_>) -> Result<(), TrainerError> {
    observer.event(event).map_err(TrainerError::Observer)
}

/// The error of a run whose steps are skipped again and again.
fn diverged(report: &StepReport, run: Option<&RunDir>) -> Result<TrainerError, TrainerError> {
    let last_good = run.map(RunDir::latest_valid).transpose()?.flatten().map(|entry| entry.path);
    Ok(TrainerError::Diverged { step: report.step, skipped: report.skipped_in_a_row, last_good })
}

fn retention(config: &TrainConfig) -> Retention {
    Retention {
        keep_last: config.keep_last_checkpoints.try_into().unwrap_or(NonZeroUsize::MIN),
        keep_every_steps: config.keep_every_steps.try_into().ok(),
    }
}

/// Saves the present state of the trainer as a checkpoint of `run` and returns its directory.
///
/// # Errors
/// When `describe` fails or a file cannot be written. Checkpoints that were written before stay intact.
///
/// # Panics
/// If steps are in flight, as [`Trainer::snapshot`].
pub fn save_checkpoint(
    trainer: &Trainer,
    run: &mut RunDir,
    describe: &dyn Fn(u64) -> Result<ModelDescription, TrainerError>,
) -> Result<PathBuf, TrainerError> {
    let snapshot = trainer.snapshot();
    let step = snapshot.state.step;
    let state = serde_json::to_value(&snapshot.state).map_err(|error| TrainerError::State(error.to_string()))?;
    let checkpoint = Checkpoint {
        step,
        description: describe(step)?,
        model: snapshot.ema_parameters,
        training: snapshot.training,
        state,
    };
    Ok(run.save_checkpoint(&checkpoint)?)
}
