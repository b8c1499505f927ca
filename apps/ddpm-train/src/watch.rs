//! Watching a run: the progress bar, the images, the curve.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use candle_core::Tensor;
use ddpm_checkpoint::{RunDir, read_metrics};
use ddpm_cli::{Progress, StopSignal, pluralize};
use ddpm_trainer::{Event, Observer, Outcome, StepReport};
use indicatif::{HumanDuration, ProgressBar};
use serde::Deserialize;
use tracing::{info, warn};

use crate::previews::grid_path;

/// Draws what the loop tells.
pub(crate) struct Watch {
    run: PathBuf,
    samples: PathBuf,
    bar: ProgressBar,
    stop: StopSignal,
    total_steps: u64,
    losses: Vec<(u64, f64)>,
    newest_grid: Option<PathBuf>,
    waited: f64,
    /// When the last line was logged, and at which step: where no bar is drawn, lines tell how it goes.
    said: (Instant, u64),
    /// When the first step began and after which it came, until the run's length has been said.
    unannounced: Option<(Instant, u64)>,
}

/// How long a run without a bar stays silent.
const SILENCE: Duration = Duration::from_secs(30);

/// Seconds of steps after which the length of a run can be told, and from which on a run is long enough to tell it.
const SOON: f64 = 10.0;
const LONG: f64 = 600.0;

/// What the curve needs of a line of metrics.jsonl. A loss that was not finite is null there.
#[derive(Deserialize)]
struct Line {
    step: u64,
    loss: Option<f64>,
}

impl Watch {
    pub(crate) fn new(
        run: &RunDir,
        first_step: u64,
        total_steps: u64,
        progress: &Progress,
        stop: StopSignal,
    ) -> anyhow::Result<Self> {
        let metrics = run.metrics_path();
        let lines: Vec<Line> = if metrics.is_file() { read_metrics(&metrics)? } else { Vec::new() };
        let before = lines.into_iter().filter(|line| line.step <= first_step);
        Ok(Self {
            run: run.path().to_path_buf(),
            samples: run.samples_path(),
            bar: progress.bar(first_step, total_steps, "steps"),
            stop,
            total_steps,
            losses: before.filter_map(|line| Some((line.step, line.loss?))).collect(),
            newest_grid: None,
            waited: 0.0,
            said: (Instant::now(), first_step),
            unannounced: Some((Instant::now(), first_step)),
        })
    }

    fn step(&mut self, report: &StepReport) {
        let StepReport { step, loss, images_per_sec, .. } = *report;
        if report.skipped {
            warn!("step {step} was skipped: its loss or gradient is not finite");
        }
        // A moving average over some fifty steps: a single step's share jumps.
        self.waited += (report.data_wait_share - self.waited) / step.min(50) as f64;
        self.announce(step);
        self.bar.set_position(step);
        self.bar.set_message(format!("loss {loss:.4}  {images_per_sec:.0} images/s"));
        if self.bar.is_hidden() && (self.said.0.elapsed() > SILENCE || step == self.total_steps) {
            let seconds = self.said.0.elapsed().as_secs_f64();
            let left = time_left(self.total_steps - step, step - self.said.1, seconds);
            info!("step {step}/{}  loss {loss:.4}  {images_per_sec:.0} images/s  {left} left", self.total_steps);
            self.said = (Instant::now(), step);
        }
    }

    /// Says once how long the run will take, as soon as that can be told.
    fn announce(&mut self, step: u64) {
        let Some((begun, from)) = self.unannounced else { return };
        let (seconds, done) = (begun.elapsed().as_secs_f64(), step - from);
        if seconds < SOON || done < 2 {
            return;
        }
        self.unannounced = None;
        let left = self.total_steps - step;
        if left as f64 * seconds / done as f64 > LONG && !self.should_stop() {
            let all = time_left(left, done, seconds);
            info!("the {left} steps that are left take about {all} at this speed; --steps gives it another length");
        }
    }

    pub(crate) fn preview(&mut self, step: u64, images: &Tensor) -> anyhow::Result<()> {
        let path = grid_path(&self.samples, step);
        ddpm_data::save_grid(&path, images)?;
        ddpm_data::save_evolution_gif(&self.samples)?;
        self.newest_grid = Some(path);
        // The time that a preview takes is no step's.
        self.said = (Instant::now(), step);
        self.curve()
    }

    fn curve(&self) -> anyhow::Result<()> {
        Ok(ddpm_data::save_loss_curve(&self.run.join("loss.svg"), &self.losses)?)
    }

    /// The last words.
    pub(crate) fn finish(self, outcome: Outcome) -> anyhow::Result<()> {
        self.curve()?;
        self.bar.finish_and_clear();
        match outcome {
            Outcome::Finished => {
                info!(
                    "done: {}, {:.1} % of the time spent waiting for data",
                    pluralize(self.total_steps as usize, "step"),
                    100.0 * self.waited
                );
                if let Some(grid) = &self.newest_grid {
                    info!("images: {}", grid.display());
                }
                info!("more images: cargo run -p ddpm-sample -- {}", self.run.display());
            }
            Outcome::Stopped => info!("stopped, state saved; the same command goes on from here"),
        }
        Ok(())
    }
}

/// What `left` steps take where the last `done` took `seconds`. More than a `Duration` holds is as good as for ever.
fn time_left(left: u64, done: u64, seconds: f64) -> HumanDuration {
    let seconds = left as f64 * seconds / done.max(1) as f64;
    HumanDuration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX))
}

impl Observer for Watch {
    fn event(&mut self, event: Event<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match event {
            Event::Step(report) => self.step(report),
            Event::Logged(report) if report.loss.is_finite() => self.losses.push((report.step, report.loss)),
            Event::Checkpoint { step, path } => {
                tracing::debug!("step {step} is saved in {}", path.display());
                self.curve()?;
            }
            Event::Drawing { images, steps } => {
                let drawing = format!("drawing {} in {}", pluralize(images, "image"), pluralize(steps, "step"));
                if self.bar.is_hidden() && self.bar.position() == self.total_steps {
                    info!("{drawing}");
                }
                self.bar.set_message(drawing);
            }
            Event::Preview { step, images } => self.preview(step, images)?,
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
    fn an_end_beyond_all_time_is_no_reason_to_stop() {
        assert_eq!(time_left(100, 10, 6.0).to_string(), "60 seconds");
        assert!(time_left(i64::MAX as u64, 1, 30.0).to_string().ends_with("years"));
    }
}
