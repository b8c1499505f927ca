//! The part of this process in a training that one or several processes (ranks) share.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{DType, Tensor};
use ddpm_distributed::{Communicator, Single};

use crate::error::TrainerError;
use crate::gradient_buckets::{BucketLayout, GradientBuckets};

/// All ranks of a training, of which this process is one.
#[derive(Debug)]
pub(crate) struct Job {
    communicator: Arc<dyn Communicator>,
    /// None until the first step of a job of several ranks.
    layout: Option<BucketLayout>,
    /// Whether the ranks know that one of them was asked to stop.
    stop_agreed: bool,
    /// The number of ranks that were asked to stop before the last step, if it has not been read.
    unread_stops: Option<Tensor>,
}

impl Default for Job {
    fn default() -> Self {
        Self { communicator: Arc::new(Single::default()), layout: None, stop_agreed: false, unread_stops: None }
    }
}

impl Job {
    /// The job of the ranks of `communicator`, which share the `accumulation_steps` batches of each step.
    ///
    /// # Errors
    /// When they cannot share them equally.
    pub(crate) fn new(communicator: Arc<dyn Communicator>, accumulation_steps: usize) -> Result<Self, TrainerError> {
        check_ranks(communicator.size(), accumulation_steps)?;
        Ok(Self { communicator, ..Self::default() })
    }

    pub(crate) fn communicator(&self) -> &Arc<dyn Communicator> {
        &self.communicator
    }

    /// Whether this process is the only rank.
    pub(crate) fn is_alone(&self) -> bool {
        self.communicator.size() == 1
    }

    /// The batches of this rank among the `accumulation_steps` batches of a step: consecutive ones.
    pub(crate) fn share(&self, accumulation_steps: usize) -> Range<u64> {
        let batches = (accumulation_steps / self.communicator.size()) as u64;
        let first = self.communicator.rank() as u64 * batches;
        first..first + batches
    }

    /// Whether the buckets of gradients are still to be determined with [`Job::set_layout`].
    pub(crate) fn needs_layout(&self) -> bool {
        !self.is_alone() && self.layout.is_none()
    }

    /// Sets the buckets of the gradients.
    ///
    /// # Errors
    /// When another rank has other ones.
    pub(crate) fn set_layout(&mut self, layout: BucketLayout) -> Result<(), TrainerError> {
        layout.check_same(self.communicator.as_ref())?;
        self.layout = Some(layout);
        Ok(())
    }

    /// The sums of a step; None for a rank that is alone, whose gradients are the sums.
    pub(crate) fn buckets(&self) -> Option<GradientBuckets<'_>> {
        self.layout.as_ref().map(|layout| GradientBuckets::new(&self.communicator, layout))
    }

    /// Takes the number of ranks that were asked to stop: a scalar, the same on all ranks. On a GPU it is read one step
    /// later, when it is available without waiting for the step in progress.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn set_stops(&mut self, stops: Tensor) -> Result<(), TrainerError> {
        let on_cpu = stops.device().is_cpu();
        let earlier = self.unread_stops.replace(stops);
        let known = if on_cpu { self.unread_stops.take() } else { earlier };
        if let Some(stops) = known {
            self.stop_agreed = stops.to_dtype(DType::F32)?.to_scalar::<f32>()? > 0.0;
        }
        Ok(())
    }

    /// Whether the training is to stop after the step just taken, on all ranks alike. `asked` is whether this process
    /// was asked to.
    pub(crate) fn stops(&self, asked: bool) -> bool {
        if self.is_alone() { asked } else { self.stop_agreed }
    }
}

/// Checks that `ranks` ranks can share the `accumulation_steps` batches of a step equally.
///
/// # Errors
/// [`TrainerError::Config`] with the nearest valid values if they cannot.
pub fn check_ranks(ranks: usize, accumulation_steps: usize) -> Result<(), TrainerError> {
    if accumulation_steps.is_multiple_of(ranks) {
        return Ok(());
    }
    let (below, above) = (accumulation_steps / ranks * ranks, accumulation_steps.div_ceil(ranks) * ranks);
    let nearest = if below == 0 { above.to_string() } else { format!("{below} or {above}") };
    let expected = format!("a multiple of the {ranks} ranks, such as {nearest}");
    Err(TrainerError::config("train.gradient_accumulation_steps", &expected, accumulation_steps.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_that_cannot_be_shared_are_refused() {
        check_ranks(4, 8).unwrap();
        let message = |ranks, batches| check_ranks(ranks, batches).unwrap_err().to_string();
        assert_eq!(
            message(4, 6),
            "train.gradient_accumulation_steps: expected a multiple of the 4 ranks, such as 4 or 8, found 6"
        );
        assert_eq!(
            message(4, 1),
            "train.gradient_accumulation_steps: expected a multiple of the 4 ranks, such as 4, found 1"
        );
    }
}
