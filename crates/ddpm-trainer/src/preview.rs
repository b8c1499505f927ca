//! Previews: images sampled from the same latents as training proceeds.

use std::ops::ControlFlow;

use candle_core::Tensor;
use ddpm_diffusion::{Denoiser, GuidedDenoiser, SamplerConfig, Sampling, SamplingProgress, sample};
use ddpm_rng::{ImageNoise, Purpose};

use crate::error::TrainerError;
use crate::trainer::Trainer;

/// The images that show the state of a run. All previews of a run start from the same latents and add the same noise,
/// so that only the model differs between them.
#[derive(Debug, Clone)]
pub struct Preview {
    /// Number of images; 0 for no previews.
    pub images: usize,
    /// The shape of an image: [channel, height, width].
    pub image_shape: [usize; 3],
    /// The sampler and its options.
    pub sampler: SamplerConfig,
    /// The seed of latents and noise.
    pub seed: u64,
    /// The class of each image, for a network that is conditioned on classes; empty otherwise.
    pub labels: Vec<u32>,
}

/// The images of a preview: [image, channel, height, width] in [−1, 1].
#[derive(Debug, Clone)]
pub struct PreviewImages {
    /// The images of the EMA of the weights.
    pub averaged: Tensor,
    /// The images of the trained weights, from the same latents; None if the EMA is no longer young.
    pub trained: Option<Tensor>,
}

impl Preview {
    /// Samples the images from the EMA of the weights, and while that is young from the weights too. None if
    /// `should_stop` returned true meanwhile, or there are no images to sample.
    ///
    /// # Errors
    /// When the sampling fails.
    pub fn sample(
        &self,
        trainer: &Trainer,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<PreviewImages>, TrainerError> {
        if self.images == 0 {
            return Ok(None);
        }
        let Some(averaged) = self.sample_from(trainer.ema_denoiser(), trainer, should_stop)? else { return Ok(None) };
        let trained = match trainer.trained_denoiser().filter(|_| trainer.ema_is_young()) {
            Some(denoiser) => match self.sample_from(denoiser, trainer, should_stop)? {
                Some(images) => Some(images),
                None => return Ok(None),
            },
            None => None,
        };
        Ok(Some(PreviewImages { averaged, trained }))
    }

    /// Samples the images from `network`: [image, channel, height, width], clamped to [−1, 1]. None if `should_stop`
    /// returned true meanwhile.
    fn sample_from(
        &self,
        network: &dyn Denoiser,
        trainer: &Trainer,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<Tensor>, TrainerError> {
        let mut observe = |_: SamplingProgress<'_>| match should_stop() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut batches = Vec::new();
        // A device that has the memory to train a batch has the memory to sample one.
        let batch_size = trainer.config().batch_size.max(1);
        for first in (0..self.images).step_by(batch_size) {
            let images = batch_size.min(self.images - first);
            let mut noise = ImageNoise::new(self.seed, Purpose::PreviewNoise, first as u64, images);
            let latents = noise.draw(&self.image_shape, trainer.device())?;
            let guided = self.guided(network, trainer, first, images)?;
            let denoiser = guided.as_ref().map_or(network, |guided| guided as &dyn Denoiser);
            match sample(denoiser, trainer.diffusion(), &self.sampler, &latents, &mut noise, &mut observe)? {
                Sampling::Finished(images) => batches.push(images.clamp(-1.0, 1.0)?),
                Sampling::Stopped(_) => return Ok(None),
            }
        }
        Ok(Some(Tensor::cat(&batches, 0)?))
    }

    /// The denoiser of the classes of the images `first..first + images`; `None` without classes.
    fn guided<'a>(
        &self,
        network: &'a dyn Denoiser,
        trainer: &'a Trainer,
        first: usize,
        images: usize,
    ) -> Result<Option<GuidedDenoiser<'a>>, TrainerError> {
        let Some(classes) = trainer.classes() else { return Ok(None) };
        let labels = self.labels.get(first..first + images).ok_or_else(|| {
            let (expected, found) = (self.images, self.labels.len());
            TrainerError::Model(format!(
                "labels of the preview: expected {expected}, one for each image, found {found}"
            ))
        })?;
        let guidance = self.sampler.guidance();
        let guided = GuidedDenoiser::new(network, trainer.diffusion(), guidance)?.with_classes(labels);
        Ok(Some(match classes.without_class {
            Some(label) => guided.without_class(label),
            None => guided,
        }))
    }
}
