//! Previews: the same latents through the averaged model, as training goes.

use std::ops::ControlFlow;

use candle_core::Tensor;
use ddpm_diffusion::{SamplerConfig, Sampling, sample};
use ddpm_rng::{ImageNoise, Purpose};

use crate::{Trainer, TrainerError};

/// What a preview shows. Every preview of a run begins with the same latents and adds the same noise: only the model
/// changes between two of them.
#[derive(Debug, Clone)]
pub struct Preview {
    /// How many images; 0 for none.
    pub images: usize,
    /// [channel, height, width].
    pub image_shape: [usize; 3],
    /// How they are sampled.
    pub sampler: SamplerConfig,
    /// Names the latents and the noise.
    pub seed: u64,
}

impl Preview {
    /// The images as the trainer's averaged model samples them now, [image, channel, height, width] clamped to [−1, 1].
    /// None when `should_stop` said so meanwhile, or there are no images to draw.
    ///
    /// # Errors
    /// When the sampling fails.
    pub fn draw(&self, trainer: &Trainer, should_stop: &dyn Fn() -> bool) -> Result<Option<Tensor>, TrainerError> {
        if self.images == 0 {
            return Ok(None);
        }
        let mut stop = |_: ddpm_diffusion::SamplingProgress<'_>| match should_stop() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let denoiser = trainer.averaged_denoiser();
        let mut parts = Vec::new();
        // What training has room for, previews have.
        let batch_size = trainer.config().batch_size.max(1);
        for from in (0..self.images).step_by(batch_size) {
            let images = batch_size.min(self.images - from);
            let mut noise = ImageNoise::new(self.seed, Purpose::PreviewNoise, from as u64, images);
            let latents = noise.draw(&self.image_shape, trainer.device())?;
            match sample(denoiser, trainer.diffusion(), &self.sampler, &latents, &mut noise, &mut stop)? {
                Sampling::Finished(images) => parts.push(images.clamp(-1.0, 1.0)?),
                Sampling::Stopped(_) => return Ok(None),
            }
        }
        Ok(Some(Tensor::cat(&parts, 0)?))
    }
}
