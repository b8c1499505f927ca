//! Previews: images sampled from the same latents as training proceeds.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Tensor};
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

/// The images of a preview: f32 [image, channel, height, width] in [−1, 1], on the CPU.
#[derive(Debug, Clone)]
pub struct PreviewImages {
    /// The images of the EMA of the weights.
    pub averaged: Tensor,
    /// The images of the trained weights, from the same latents; None if the EMA is no longer young.
    pub trained: Option<Tensor>,
}

/// What became of a preview.
#[derive(Debug, Clone)]
pub enum PreviewOutcome {
    /// The images. Of several ranks, rank 0 has them.
    Images(PreviewImages),
    /// This rank has sampled its share, and rank 0 has the images.
    OnRank0,
    /// The sampling was stopped, on all ranks alike, or there are no images to sample.
    Stopped,
}

impl Preview {
    /// Samples the images from the EMA of the weights, and while that is young from the weights too. Ranks share the
    /// batches of images; all call this function, and if `should_stop` returns true on one of them, all stop.
    ///
    /// # Errors
    /// When the sampling fails, or another rank does not answer.
    pub fn sample(&self, trainer: &Trainer, should_stop: &dyn Fn() -> bool) -> Result<PreviewOutcome, TrainerError> {
        if self.images == 0 {
            return Ok(PreviewOutcome::Stopped);
        }
        let communicator = trainer.communicator();
        let mut sampled = Vec::new();
        let young = trainer.trained_denoiser().filter(|_| trainer.ema_is_young());
        for network in std::iter::once(trainer.ema_denoiser()).chain(young) {
            let share = self.sample_share(network, trainer, should_stop)?;
            if communicator.any(share.is_none())? {
                return Ok(PreviewOutcome::Stopped);
            }
            let of_all = communicator.gather_values(share.unwrap_or_default())?;
            sampled.extend(of_all.map(|of_all| self.in_order(&of_all, batch_size(trainer))).transpose()?);
        }
        let mut sampled = sampled.into_iter();
        Ok(match sampled.next() {
            Some(averaged) => PreviewOutcome::Images(PreviewImages { averaged, trained: sampled.next() }),
            None => PreviewOutcome::OnRank0,
        })
    }

    /// Samples this rank's share of the batches from `network`: every W-th of W ranks. The values of their images,
    /// clamped to [−1, 1]. None if `should_stop` returned true meanwhile.
    fn sample_share(
        &self,
        network: &dyn Denoiser,
        trainer: &Trainer,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<Vec<f32>>, TrainerError> {
        let mut observe = |_: SamplingProgress<'_>| match should_stop() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        let mut values = Vec::new();
        let batch_size = batch_size(trainer);
        let (rank, ranks) = (trainer.communicator().rank(), trainer.communicator().size());
        for first in (0..self.images).step_by(batch_size).skip(rank).step_by(ranks) {
            let images = batch_size.min(self.images - first);
            let mut noise = ImageNoise::new(self.seed, Purpose::PreviewNoise, first as u64, images);
            let latents = noise.draw(&self.image_shape, trainer.device())?;
            let guided = self.guided(network, trainer, first, images)?;
            let denoiser = guided.as_ref().map_or(network, |guided| guided as &dyn Denoiser);
            match sample(denoiser, trainer.diffusion(), &self.sampler, &latents, &mut noise, &mut observe)? {
                Sampling::Finished(images) => {
                    let images = images.clamp(-1.0, 1.0)?.flatten_all()?.to_device(&Device::Cpu)?;
                    values.extend(images.to_dtype(DType::F32)?.to_vec1::<f32>()?);
                }
                Sampling::Stopped(_) => return Ok(None),
            }
        }
        Ok(Some(values))
    }

    /// The images of all ranks, whose values are `of_all`: batches of `batch_size` images took turns among the ranks.
    fn in_order(&self, of_all: &[Vec<f32>], batch_size: usize) -> Result<Tensor, TrainerError> {
        let image_values = self.image_shape.iter().product::<usize>();
        let mut rest: Vec<_> = of_all.iter().map(|values| values.iter()).collect();
        let mut values: Vec<f32> = Vec::with_capacity(self.images * image_values);
        for (batch, first) in (0..self.images).step_by(batch_size).enumerate() {
            let expected = batch_size.min(self.images - first) * image_values;
            values.extend(rest[batch % of_all.len()].by_ref().take(expected));
        }
        let [channels, height, width] = self.image_shape;
        Ok(Tensor::from_vec(values, (self.images, channels, height, width), &Device::Cpu)?)
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

/// Number of images that are sampled together: a device that has the memory to train a batch has the memory to sample
/// one.
fn batch_size(trainer: &Trainer) -> usize {
    trainer.config().batch_size.max(1)
}
