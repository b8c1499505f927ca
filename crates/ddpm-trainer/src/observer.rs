//! The events that the training loop reports to its caller.

use std::path::Path;

use crate::preview::PreviewImages;
use crate::step_report::StepReport;
use crate::validation::ValidationReport;

/// Something that happened during training.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A step was taken or skipped.
    Step(&'a StepReport),
    /// A step was written to metrics.jsonl. This event precedes the [`Event::Step`] of the same step.
    Logged(&'a StepReport),
    /// A checkpoint is complete on disk.
    Checkpoint {
        /// The step of the checkpoint.
        step: u64,
        /// Its directory.
        path: &'a Path,
    },
    /// A validation was done.
    Validated(&'a ValidationReport),
    /// The sampling of a preview starts.
    PreviewStarted {
        /// Number of images of the preview.
        images: usize,
        /// Number of sampling steps for each of them.
        sampler_steps: usize,
    },
    /// A preview was sampled.
    Preview {
        /// Number of steps taken.
        step: u64,
        /// Its images.
        images: &'a PreviewImages,
    },
}

/// Follows a training run: displays its progress, and may stop it.
pub trait Observer {
    /// Receives an event.
    ///
    /// # Errors
    /// An error ends the run. Checkpoints that were written before stay intact.
    fn event(&mut self, event: Event<'_>) -> Result<(), Box<dyn std::error::Error + Send + Sync>>;

    /// Whether the run shall save its state and stop. The loop calls this after every step, between the batches of a
    /// step, and while a preview is sampled.
    fn should_stop(&self) -> bool;
}
