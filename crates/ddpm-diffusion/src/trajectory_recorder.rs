//! Intermediate images of a sampling run, for a figure of the denoising process.

use candle_core::Tensor;

use crate::{DiffusionError, SamplingProgress};

/// Records x at regular intervals of timesteps, from x_T to x_0.
///
/// The interval refers to the schedule that the network was trained with. In a respaced schedule, x is recorded at the
/// first step that reaches or passes the next multiple of the interval. Thus a run of 50 steps out of 1,000 and a run
/// of all 1,000 steps, both recorded every 100 timesteps, give the same number of images.
///
/// # Examples
/// ```
/// use candle_core::{DType, Device, Tensor};
/// use ddpm_diffusion::{SamplingProgress, TrajectoryRecorder};
///
/// let x = Tensor::zeros((1, 3, 8, 8), DType::F32, &Device::Cpu)?;
/// let mut recorder = TrajectoryRecorder::new(&x, 1000, 500, 1)?;
/// // The callback of `sample` receives one `SamplingProgress` after each step.
/// for timesteps_left in [750, 500, 250, 0] {
///     recorder.record(&SamplingProgress { steps_done: 1, steps: 4, timesteps_left, x: &x })?;
/// }
/// assert_eq!(recorder.into_images().len(), 3);
/// assert!(TrajectoryRecorder::new(&x, 1000, 0, 1).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrajectoryRecorder {
    interval: usize,
    max_images: usize,
    /// x is recorded when no more than this number of timesteps is left.
    next_timesteps_left: usize,
    recorded: Vec<Tensor>,
}

impl TrajectoryRecorder {
    /// A recorder that contains `x_T` and records x every `interval` timesteps of `timesteps`. It keeps the first
    /// `max_images` images of the batch.
    ///
    /// # Shapes
    /// `x_T` [image, channel, height, width].
    ///
    /// # Errors
    /// [`DiffusionError::RecordInterval`] if `interval` is 0, and the errors of candle.
    #[allow(non_snake_case, reason = "x_T is the papers' symbol")]
    pub fn new(x_T: &Tensor, timesteps: usize, interval: usize, max_images: usize) -> Result<Self, DiffusionError> {
        if interval == 0 {
            return Err(DiffusionError::RecordInterval);
        }
        let next_timesteps_left = timesteps.saturating_sub(interval);
        let mut recorder = Self { interval, max_images, next_timesteps_left, recorded: Vec::new() };
        recorder.push(x_T)?;
        Ok(recorder)
    }

    /// Records x if the next multiple of the interval has been reached. To be called after every step of
    /// [`sample`](crate::sample).
    ///
    /// # Errors
    /// The errors of candle.
    pub fn record(&mut self, progress: &SamplingProgress<'_>) -> Result<(), DiffusionError> {
        let timesteps_left = progress.timesteps_left;
        if timesteps_left > self.next_timesteps_left && timesteps_left > 0 {
            return Ok(());
        }
        self.push(progress.x)?;
        while self.next_timesteps_left > 0 && timesteps_left <= self.next_timesteps_left {
            self.next_timesteps_left = self.next_timesteps_left.saturating_sub(self.interval);
        }
        Ok(())
    }

    /// The recorded x in sampling order, starting with x_T. Each tensor is [image, channel, height, width].
    pub fn into_images(self) -> Vec<Tensor> {
        self.recorded
    }

    fn push(&mut self, x: &Tensor) -> Result<(), DiffusionError> {
        // A view would keep the whole batch in memory.
        self.recorded.push(x.narrow(0, 0, self.max_images.min(x.dim(0)?))?.copy()?);
        Ok(())
    }
}
