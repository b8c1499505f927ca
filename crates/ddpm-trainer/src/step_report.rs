//! The report of a step, and the data of a step that has not been reported yet.

use std::time::{Duration, Instant};

use ddpm_ops::UpdateRecord;
use serde::Serialize;

/// The result of a step: one line of metrics.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Number of steps taken up to and including this one: from 1.
    pub step: u64,
    /// The training loss, averaged over the batches of the step.
    pub loss: f64,
    /// The learning rate of the step.
    pub learning_rate: f64,
    /// The global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the step left the weights unchanged because its loss or gradient was not finite.
    pub skipped: bool,
    /// Number of steps skipped in a row, including this one.
    #[serde(skip)]
    pub skipped_in_a_row: u64,
    /// Images of the step divided by its duration.
    pub images_per_sec: f64,
    /// The fraction of the step's duration that was spent waiting for data, in [0, 1].
    pub data_wait_share: f64,
}

/// A step that was started and not reported yet. On a GPU it may still be running.
#[derive(Debug)]
pub(crate) struct StepInFlight {
    pub(crate) step: u64,
    pub(crate) learning_rate: f64,
    pub(crate) start: Instant,
    pub(crate) data_wait: Duration,
}

impl StepInFlight {
    /// The duration of each of these steps, which are complete now, in seconds. Steps in flight overlap, so that only
    /// their mean duration is known.
    pub(crate) fn mean_secs(steps: &[Self]) -> f64 {
        let total_secs = steps.first().map_or(0.0, |first| first.start.elapsed().as_secs_f64());
        (total_secs / steps.len().max(1) as f64).max(1e-9)
    }

    /// The report of this step, which took `secs` seconds for `images` images.
    pub(crate) fn report(self, record: UpdateRecord, skipped_in_a_row: u64, images: usize, secs: f64) -> StepReport {
        StepReport {
            step: self.step,
            loss: record.loss,
            learning_rate: self.learning_rate,
            gradient_norm: record.gradient_norm,
            skipped: record.skipped,
            skipped_in_a_row,
            images_per_sec: images as f64 / secs,
            data_wait_share: (self.data_wait.as_secs_f64() / secs).min(1.0),
        }
    }
}
