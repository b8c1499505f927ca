//! Moments of a sampling, for the image of the denoising.

use candle_core::Tensor;

use crate::{DiffusionError, SamplingProgress};

/// x every k steps of the schedule that the network was trained with, from x_T to x_0.
///
/// Where a sampling takes a subset of the steps, a moment is kept at the first step that reaches or passes the next multiple:
/// a sampling of 50 steps out of 1,000, recorded every 100, is the same row of images as one of 1,000 steps.
#[derive(Debug, Clone)]
pub struct Recording {
    every: usize,
    images: usize,
    next: usize,
    moments: Vec<Tensor>,
}

impl Recording {
    /// A recording that holds `x_T` and will keep another moment whenever `every` of `timesteps` steps are done; of a batch,
    /// the first `images`.
    ///
    /// # Shapes
    /// `x_T` [image, channel, height, width].
    ///
    /// # Errors
    /// When `every` is 0, or candle fails.
    #[allow(non_snake_case, reason = "x_T is the papers' symbol")]
    pub fn new(x_T: &Tensor, timesteps: usize, every: usize, images: usize) -> Result<Self, DiffusionError> {
        if every == 0 {
            return Err(DiffusionError::RecordEvery);
        }
        let mut recording = Self { every, images, next: timesteps.saturating_sub(every), moments: Vec::new() };
        recording.keep(x_T)?;
        Ok(recording)
    }

    /// Keeps x if its time has come; to be called after every step of [`sample`](crate::sample).
    ///
    /// # Errors
    /// When candle fails.
    pub fn observe(&mut self, progress: &SamplingProgress<'_>) -> Result<(), DiffusionError> {
        if progress.time_left <= self.next || progress.time_left == 0 {
            self.keep(progress.x)?;
            while self.next > 0 && progress.time_left <= self.next {
                self.next = self.next.saturating_sub(self.every);
            }
        }
        Ok(())
    }

    /// The moments, each [image, channel, height, width], from x_T to the last.
    pub fn into_moments(self) -> Vec<Tensor> {
        self.moments
    }

    fn keep(&mut self, x: &Tensor) -> Result<(), DiffusionError> {
        // A copy: a view would keep the whole batch alive.
        self.moments.push(x.narrow(0, 0, self.images.min(x.dim(0)?))?.copy()?);
        Ok(())
    }
}
