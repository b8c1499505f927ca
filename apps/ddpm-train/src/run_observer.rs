//! Shows the progress of a run: progress bar, log messages, preview images and loss curve.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use ddpm_checkpoint::{RunDir, read_metrics};
use ddpm_cli::{Progress, StopSignal, grouped, invocation, pluralize, shell_word};
use ddpm_data::LossCurves;
use ddpm_trainer::{
    Event, MemorizationForecast, Observer, Outcome, PreviewImages, StepReport, TrainConfig, ValidationHistory,
    ValidationReport,
};
use indicatif::{HumanDuration, ProgressBar};
use serde::Deserialize;
use tracing::{info, warn};

use crate::cache_progress::CacheProgress;
use crate::previews::{comparison_path, grid_path};
use crate::slow_average::log_initial_share;

/// Receives the events of the training loop and shows them.
pub(crate) struct RunObserver {
    run: PathBuf,
    samples: PathBuf,
    train: TrainConfig,
    bar: ProgressBar,
    stop: StopSignal,
    total_steps: u64,
    losses: LossCurves,
    validations: ValidationHistory,
    newest_grid: Option<PathBuf>,
    /// The names of the classes whose images a preview shows, in rows; empty without classes.
    classes: Vec<String>,
    /// Moving average of the share of a step that is spent waiting for data.
    data_wait_share: f64,
    /// Time and step of the last progress message. Messages replace the progress bar if it is hidden.
    last_message: (Instant, u64),
    /// Time and step at the start of this session, until the duration of the run has been estimated.
    start: Option<(Instant, u64)>,
    /// The cache of resized images, in the first epoch of the session.
    cache: Option<CacheProgress>,
}

/// Time between two progress messages if the progress bar is hidden.
const MESSAGE_INTERVAL: Duration = Duration::from_secs(30);
/// Time after which the duration of the run is estimated.
const ESTIMATE_AFTER_SECS: f64 = 10.0;
/// Smallest estimated remaining time that is logged.
const LONG_RUN_SECS: f64 = 600.0;

/// The fields of a line of metrics.jsonl that the loss curve needs. A loss that was not finite is null.
#[derive(Deserialize)]
struct MetricsLine {
    step: u64,
    loss: Option<f64>,
    validation: Option<ValidationReport>,
}

impl RunObserver {
    /// An observer of a session that starts after `first_step`. The loss curve includes earlier sessions.
    pub(crate) fn new(
        run: &RunDir,
        train: &TrainConfig,
        first_step: u64,
        total_steps: u64,
        progress: &Progress,
        stop: StopSignal,
    ) -> anyhow::Result<Self> {
        let metrics = run.metrics_path();
        let lines: Vec<MetricsLine> = if metrics.is_file() { read_metrics(&metrics)? } else { Vec::new() };
        let earlier: Vec<MetricsLine> = lines.into_iter().filter(|line| line.step <= first_step).collect();
        let validations: Vec<ValidationReport> = earlier.iter().filter_map(|line| line.validation).collect();
        let losses = LossCurves {
            training: earlier.iter().filter_map(|line| Some((line.step, line.loss?))).collect(),
            averaged_training: validations.iter().map(|report| (report.step, report.training.total)).collect(),
            averaged_held_out: validations.iter().map(|report| (report.step, report.held_out.total)).collect(),
        };
        Ok(Self {
            run: run.path().to_path_buf(),
            samples: run.samples_path(),
            train: train.clone(),
            bar: progress.bar(first_step, total_steps, "steps"),
            stop,
            total_steps,
            losses,
            validations: ValidationHistory::new(validations),
            newest_grid: None,
            classes: Vec::new(),
            data_wait_share: 0.0,
            last_message: (Instant::now(), first_step),
            start: Some((Instant::now(), first_step)),
            cache: None,
        })
    }

    /// Shows how the cache fills.
    pub(crate) fn follow_cache(&mut self, cache: CacheProgress) {
        self.cache = Some(cache);
    }

    /// Arranges previews in one row for each class. They hold equally many images of each.
    pub(crate) fn show_classes(&mut self, names: Vec<String>) {
        self.classes = names;
    }

    fn show_step(&mut self, report: &StepReport) {
        let StepReport { step, loss, .. } = *report;
        if report.skipped {
            warn!("step {step} was skipped: its loss or gradient is not finite");
        }
        // Averaged over about fifty steps, because the share of a single step varies widely.
        self.data_wait_share += (report.data_wait_share - self.data_wait_share) / step.min(50) as f64;
        self.estimate_duration(step);
        self.cache.take_if(|cache| !cache.update(step));
        self.bar.set_position(step);
        // The speed is an average since the last message, as a single step varies.
        let (time, last_step) = self.last_message;
        let (done, secs) = (step - last_step, time.elapsed().as_secs_f64().max(1e-9));
        let images_per_sec = (done * self.images_per_step()) as f64 / secs;
        let held_out = match self.validations.reports().last() {
            Some(report) => format!("  held-out {:.4}", report.held_out.total),
            None => String::new(),
        };
        self.bar.set_message(format!("loss {loss:.4}{held_out}  {images_per_sec:.0} images/s"));
        if time.elapsed() > MESSAGE_INTERVAL || step == self.total_steps {
            if self.bar.is_hidden() {
                let left = time_left(self.total_steps - step, done, secs);
                let total = self.total_steps;
                info!("step {step}/{total}  loss {loss:.4}{held_out}  {images_per_sec:.0} images/s  {left} left");
            }
            self.last_message = (Instant::now(), step);
        }
    }

    /// Adds a validation to the progress line and the loss curve.
    fn show_validation(&mut self, report: &ValidationReport) {
        let ValidationReport { step, held_out, training } = report;
        tracing::debug!("validation of step {step}: held-out {:?}, training {:?}", held_out, training);
        self.losses.averaged_training.push((*step, training.total));
        self.losses.averaged_held_out.push((*step, held_out.total));
        self.validations.push(*report);
    }

    /// Logs which checkpoint has the lowest held-out loss, and when the model begins to memorize its images.
    fn log_generalization(&self) {
        let (Some(best), Some(last)) = (self.validations.best(), self.validations.reports().last()) else { return };
        let (lowest, training, held_out) = (best.held_out.total, last.training.total, last.held_out.total);
        info!(
            "loss of the averaged weights: {training:.4} on training images, {held_out:.4} on held-out ones, at best \
             {lowest:.4} at step {}",
            best.step
        );
        let Some(MemorizationForecast { step, interval: [from, to] }) = self.validations.forecast() else { return };
        let [step, from, to] = [step, from, to].map(|step| grouped(step.round().max(0.0) as usize));
        info!(
            "memorization begins at about step {step} ({from} to {to}), where the held-out loss is lowest: from there \
             on the model learns about its training images only"
        );
    }

    fn images_per_step(&self) -> u64 {
        (self.train.batch_size * self.train.gradient_accumulation_steps) as u64
    }

    /// Logs once how long a long run will take, as soon as that can be estimated.
    fn estimate_duration(&mut self, step: u64) {
        let Some((start, first_step)) = self.start else { return };
        let (seconds, done) = (start.elapsed().as_secs_f64(), step - first_step);
        if seconds < ESTIMATE_AFTER_SECS || done < 2 {
            return;
        }
        self.start = None;
        let left = self.total_steps - step;
        if left as f64 * seconds / done as f64 > LONG_RUN_SECS && !self.should_stop() {
            let duration = time_left(left, done, seconds);
            info!(
                "the remaining {left} steps take about {duration} at this speed; --steps changes the length of the run"
            );
        }
    }

    /// Writes the preview of a step. While the average is young, a second picture shows the trained weights beside it.
    pub(crate) fn write_preview(&mut self, step: u64, images: &PreviewImages) -> anyhow::Result<()> {
        let path = grid_path(&self.samples, step);
        let averaged = self.grid(&images.averaged)?;
        if let Some(trained) = &images.trained {
            let comparison = comparison_path(&self.samples, step);
            let captions = ["trained", &format!("EMA {}", self.train.ema_decay.first())];
            ddpm_data::save_png(&comparison, &ddpm_data::side_by_side([&self.grid(trained)?, &averaged], captions))?;
            if self.bar.is_hidden() {
                info!("trained weights beside their average, which is still young: {}", comparison.display());
            }
        }
        // Written last: a run without this file samples its preview again.
        ddpm_data::save_png(&path, &averaged)?;
        ddpm_data::save_evolution_gif(&self.samples)?;
        log_initial_share(&self.train, step);
        if self.bar.is_hidden() {
            info!("preview of step {step}: {}", path.display());
        }
        self.newest_grid = Some(path);
        // The time of the preview is not part of the next message's speed, nor of the estimated duration.
        self.last_message = (Instant::now(), step);
        if let Some(start) = &mut self.start {
            *start = self.last_message;
            self.bar.reset_elapsed();
        }
        self.write_loss_curve()
    }

    /// The images of a preview in a square, or with a row for each class.
    fn grid(&self, images: &Tensor) -> anyhow::Result<ddpm_data::Image> {
        let count = images.dim(0)?;
        Ok(match self.classes.len() {
            0 => ddpm_data::grid(images, ddpm_data::square_columns(count))?,
            classes => {
                let of_class = count.div_ceil(classes).max(1);
                let rows: Vec<usize> = (0..count).map(|image| image / of_class).collect();
                ddpm_data::labeled_grid(images, &rows, &self.classes)?
            }
        })
    }

    fn write_loss_curve(&self) -> anyhow::Result<()> {
        Ok(ddpm_data::save_loss_curve(&self.run.join("loss.svg"), &self.losses)?)
    }

    /// Writes the loss curve of a run whose steps an earlier session has taken.
    pub(crate) fn finish_results(self) -> anyhow::Result<()> {
        self.write_loss_curve()?;
        self.bar.finish_and_clear();
        info!("completed the results of {}, which an earlier session had left incomplete", self.run.display());
        Ok(())
    }

    /// Writes the loss curve a last time and logs how the session ended, after `step` steps of the run.
    pub(crate) fn finish(self, outcome: Outcome, step: u64) -> anyhow::Result<()> {
        self.write_loss_curve()?;
        self.bar.finish_and_clear();
        match outcome {
            Outcome::Finished => {
                let (steps, waiting) = (pluralize(self.total_steps as usize, "step"), 100.0 * self.data_wait_share);
                info!("finished after {steps}; {waiting:.1} % of the time was spent waiting for data");
                self.log_generalization();
                if let Some(grid) = &self.newest_grid {
                    info!("sampled images: {}", grid.display());
                }
                info!("to sample more images: {} {}", invocation("ddpm-sample"), shell_word(&self.run));
            }
            Outcome::Overfit => {
                self.log_generalization();
                let (best, run) = (self.validations.best().map_or(step, |best| best.step), shell_word(&self.run));
                info!(
                    "ended after step {step}, because the held-out loss rose (train.stop_when_overfit); the checkpoint \
                     with the lowest one, near step {best}: {} {run} --checkpoint best",
                    invocation("ddpm-sample")
                );
            }
            Outcome::Stopped => {
                let (program, run) = (invocation("ddpm-train"), shell_word(&self.run));
                let [step, total] = [step, self.total_steps].map(|n| grouped(n as usize));
                info!(
                    "stopped after step {step} of {total} and saved the state; to continue: {program} --resume {run}"
                );
            }
        }
        Ok(())
    }
}

/// The time that `left` steps take if the last `done` steps took `seconds`, at most the longest [`Duration`].
fn time_left(left: u64, done: u64, seconds: f64) -> HumanDuration {
    let seconds = left as f64 * seconds / done.max(1) as f64;
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

impl Observer for RunObserver {
    fn event(&mut self, event: Event<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match event {
            Event::Step(report) => self.show_step(report),
            Event::Logged(report) if report.loss.is_finite() => self.losses.training.push((report.step, report.loss)),
            Event::Validated(report) => self.show_validation(report),
            Event::Checkpoint { step, path } => {
                tracing::debug!("saved the checkpoint of step {step}: {}", path.display());
                self.write_loss_curve()?;
            }
            Event::PreviewStarted { images, sampler_steps } => {
                let (images, steps) = (pluralize(images, "image"), pluralize(sampler_steps, "step"));
                if self.bar.is_hidden() {
                    info!("sampling {images} in {steps}");
                }
                self.bar.set_message(format!("sampling {images} in {steps}"));
            }
            Event::Preview { step, images } => self.write_preview(step, images)?,
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.stop.received().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::time_left;

    #[test]
    fn a_time_beyond_the_longest_duration_is_shown() {
        assert_eq!(time_left(100, 10, 6.0).to_string(), "60 seconds");
        assert!(time_left(i64::MAX as u64, 1, 30.0).to_string().ends_with("years"));
    }
}
