//! The sum of a bucket that may still be in progress.

use std::fmt;

use candle_core::Tensor;

use crate::error::DistributedError;

/// The sum of a bucket over all ranks, which goes on while the caller computes.
#[must_use = "the sum is complete only when finish() returns"]
pub struct PendingSum(Box<dyn FnOnce() -> Result<Tensor, DistributedError> + Send>);

impl PendingSum {
    /// A sum that `finish` waits for.
    pub(crate) fn new(finish: impl FnOnce() -> Result<Tensor, DistributedError> + Send + 'static) -> Self {
        Self(Box::new(finish))
    }

    /// Waits for the sum: a tensor of the shape and device of the bucket.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    pub fn finish(self) -> Result<Tensor, DistributedError> {
        (self.0)()
    }
}

impl fmt::Debug for PendingSum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingSum").finish_non_exhaustive()
    }
}
