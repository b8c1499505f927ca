//! The report of a step, and the data of a step that has not been reported yet.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

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
    /// Images divided by the duration of the steps: of this step, in metrics.jsonl of all steps since the last line.
    pub images_per_sec: f64,
    /// The fraction of the same duration that was spent waiting for data, in [0, 1].
    pub data_wait_share: f64,
    /// The fraction of the same duration that was spent waiting for the gradients of other ranks, in [0, 1]: the
    /// communication that no computation hides. 0 in a single process.
    #[serde(skip_serializing_if = "is_zero")]
    pub communication_wait_share: f64,
    /// The time at which the step was reported, in seconds since 1970-01-01 UTC.
    pub time: f64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn is_zero(share: &f64) -> bool {
    *share == 0.0
}

/// The speed over several steps.
#[derive(Debug, Default)]
pub(crate) struct Interval {
    steps: u64,
    /// Seconds per image, added up over the steps, which have equally many images.
    secs_per_image: f64,
    waited_secs_per_image: f64,
    communication_secs_per_image: f64,
}

impl Interval {
    pub(crate) fn add(&mut self, report: &StepReport) {
        self.steps += 1;
        self.secs_per_image += report.images_per_sec.recip();
        self.waited_secs_per_image += report.data_wait_share / report.images_per_sec;
        self.communication_secs_per_image += report.communication_wait_share / report.images_per_sec;
    }

    /// The report with the speed over the interval instead of that of its step. A new interval begins.
    pub(crate) fn finish(&mut self, report: &StepReport) -> StepReport {
        let Self { steps, secs_per_image, waited_secs_per_image, communication_secs_per_image } = std::mem::take(self);
        StepReport {
            images_per_sec: steps as f64 / secs_per_image,
            data_wait_share: waited_secs_per_image / secs_per_image,
            communication_wait_share: communication_secs_per_image / secs_per_image,
            ..*report
        }
    }
}

/// A step that was started and not reported yet. On a GPU it may still be running.
#[derive(Debug)]
pub(crate) struct StepInFlight {
    pub(crate) step: u64,
    pub(crate) learning_rate: f64,
    pub(crate) start: Instant,
    pub(crate) data_wait: Duration,
    pub(crate) communication_wait: Duration,
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
            communication_wait_share: (self.communication_wait.as_secs_f64() / secs).min(1.0),
            time: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_the_mean_speed() {
        let report = |images_per_sec, data_wait_share| StepReport {
            step: 1,
            loss: 0.5,
            learning_rate: 0.1,
            gradient_norm: 1.0,
            skipped: false,
            skipped_in_a_row: 0,
            images_per_sec,
            data_wait_share,
            communication_wait_share: data_wait_share / 2.0,
            time: 0.0,
        };
        let mut interval = Interval::default();
        // Eight images in 1 s, half of it waiting, then eight images in 3 s.
        let reports = [report(8.0, 0.5), report(8.0 / 3.0, 0.0)];
        reports.iter().for_each(|report| interval.add(report));
        let mean = interval.finish(&reports[1]);
        assert_eq!((mean.images_per_sec, mean.data_wait_share), (4.0, 0.125));
        assert_eq!(mean.communication_wait_share, 0.0625);
        interval.add(&reports[0]);
        assert_eq!(interval.finish(&reports[0]), reports[0]);
    }
}
