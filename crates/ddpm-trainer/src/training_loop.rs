//! The training loop: steps, metrics, checkpoints, previews, in that order, from top to bottom.

use std::path::Path;

use candle_core::Tensor;
use ddpm_checkpoint::{Checkpoint, ModelDescription, Retention, RunDir};

use crate::preview::Preview;
use crate::trainer::{StepReport, Trainer};
use crate::{TrainConfig, TrainerError};

/// What happened.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was taken or skipped.
    Step(&'a StepReport),
    /// A step was written to the metrics, before its [`Event::Step`].
    Logged(&'a StepReport),
    /// A checkpoint was written whole.
    Checkpoint {
        /// The step that it holds.
        step: u64,
        /// Its directory.
        path: &'a Path,
    },
    /// The averaged model is about to sample the fixed latents.
    Drawing {
        /// How many.
        images: usize,
        /// Of each batch of them.
        steps: usize,
    },
    /// The averaged model sampled the fixed latents.
    Preview {
        /// Steps completed.
        step: u64,
        /// [image, channel, height, width] in [−1, 1].
        images: &'a Tensor,
    },
}

/// Who watches a run: draws, prints, and may stop it.
pub trait Observer {
    /// Takes note of an event.
    ///
    /// # Errors
    /// An error ends the run; the checkpoints written so far stay.
    fn event(&mut self, event: Event<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Whether the run shall save its state and stop. Asked after every step, between the batches of a step, and while
    /// previews are drawn.
    fn should_stop(&self) -> bool;
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// The observer stopped it, its state saved.
    Stopped,
}

/// Takes a run from the trainer's present state to its last step, leaving metrics and checkpoints in `run`.
///
/// `describe` writes down what a model file of that step is the model of. Metrics and checkpoints of `run` beyond the
/// present step, left by a run that went further, are dropped first.
///
/// # Errors
/// When the data, a file, the observer or a tensor operation fails, or the loss stays not finite. Checkpoints written so
/// far stay as they are.
pub fn train<E>(
    trainer: &mut Trainer,
    batches: &mut dyn Iterator<Item = Result<Tensor, E>>,
    run: &mut RunDir,
    preview: &Preview,
    describe: &dyn Fn(u64) -> Result<ModelDescription, TrainerError>,
    observer: &mut dyn Observer,
) -> Result<Outcome, TrainerError>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let config = trainer.config().clone();
    let retention = retention(&config);
    let mut metrics = run.metrics(trainer.state().step)?;
    run.discard_checkpoints_after(trainer.state().step)?;

    let (mut checkpoint_due, total_steps) = (false, trainer.total_steps());
    while trainer.state().step < trainer.total_steps() {
        let begun = trainer.begin(batches, &|| observer.should_stop())?;
        let step = trainer.state().step;
        let last = step == trainer.total_steps();
        let due = |every: u64, step: u64| every > 0 && step.is_multiple_of(every);
        // The first and the last too: a short run leaves a curve as well.
        let logged = |step: u64| due(config.log_every_steps, step) || step == 1 || step == total_steps;
        let stop = observer.should_stop();
        checkpoint_due |= begun && due(config.checkpoint_every_steps, step);
        let drawn = begun && preview.images > 0 && (due(config.sample_every_steps, step) || last);
        // What nobody asks for yet can wait, and the GPU need not.
        let wanted = !begun || logged(step) || stop || checkpoint_due || drawn;
        if trainer.runs_ahead() && !wanted && trainer.begun() < Trainer::MOST_BEGUN {
            continue;
        }
        let mut skipped = false;
        for report in trainer.reports()? {
            if logged(report.step) {
                metrics.append(&report)?;
                observer.event(Event::Logged(&report)).map_err(TrainerError::Observer)?;
            }
            observer.event(Event::Step(&report)).map_err(TrainerError::Observer)?;
            if report.skipped_in_a_row >= config.max_skipped_steps {
                let last_good = run.latest_valid()?.map(|entry| entry.path);
                return Err(TrainerError::Diverged { step: report.step, skipped: report.skipped_in_a_row, last_good });
            }
            skipped = report.skipped;
        }
        if !begun {
            save_checkpoint(trainer, run, describe)?;
            return Ok(Outcome::Stopped);
        }

        let stop = stop || observer.should_stop();
        // While steps are skipped the weights may be beyond repair: the checkpoint that is due waits for a step that is not, and
        // takes no older one's place before.
        if (checkpoint_due && !skipped) || last || stop {
            let path = save_checkpoint(trainer, run, describe)?;
            if !skipped {
                run.prune(&retention)?;
            }
            checkpoint_due = false;
            observer.event(Event::Checkpoint { step, path: &path }).map_err(TrainerError::Observer)?;
        }
        if stop && !last {
            return Ok(Outcome::Stopped);
        }

        if drawn {
            let drawing = Event::Drawing { images: preview.images, steps: preview.sampler.steps };
            observer.event(drawing).map_err(TrainerError::Observer)?;
            match preview.draw(trainer, &|| observer.should_stop())? {
                Some(images) => {
                    let event = Event::Preview { step, images: &images };
                    observer.event(event).map_err(TrainerError::Observer)?;
                }
                None if last => return Ok(Outcome::Stopped),
                None => {
                    save_checkpoint(trainer, run, describe)?;
                    return Ok(Outcome::Stopped);
                }
            }
        }
    }
    Ok(Outcome::Finished)
}

fn retention(config: &TrainConfig) -> Retention {
    Retention {
        keep_last: config.keep_last_checkpoints.try_into().unwrap_or(std::num::NonZeroUsize::MIN),
        keep_every_steps: config.keep_every_steps.try_into().ok(),
    }
}

/// Saves the trainer's present state as a checkpoint of `run`, and gives its directory.
///
/// # Errors
/// When it cannot be described or written; the checkpoints from before are then intact.
pub fn save_checkpoint(
    trainer: &Trainer,
    run: &mut RunDir,
    describe: &dyn Fn(u64) -> Result<ModelDescription, TrainerError>,
) -> Result<std::path::PathBuf, TrainerError> {
    let snapshot = trainer.snapshot();
    let step = snapshot.state.step;
    let state = serde_json::to_value(&snapshot.state).map_err(|error| TrainerError::State(error.to_string()))?;
    let checkpoint =
        Checkpoint { step, description: describe(step)?, model: snapshot.averages, training: snapshot.training, state };
    Ok(run.save_checkpoint(&checkpoint)?)
}
