//! The loss of the averaged weights on images that are not trained on, and on as many that are.

use candle_core::{DType, Device, Tensor};
use ddpm_diffusion::NoisyBatch;
use ddpm_ops::upload;
use ddpm_rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::error::TrainerError;
use crate::train_config::TrainConfig;
use crate::trainer::Trainer;
use crate::training_batch::TrainingBatch;

/// Number of bands of the noise level, each a quarter of the timesteps.
pub(crate) const BANDS: usize = 4;

/// About how many losses of single images and timesteps are averaged on each side.
const LOSSES: usize = 512;

/// The share of the training time that validations take unless their interval is configured.
const TIME_SHARE: f64 = 0.02;

/// Images whose loss is followed during a training: some that are held out, and equally many that are trained on.
///
/// Every validation of a run uses the same timesteps and the same noise, on both sides, so that their differences come
/// from the images and the weights alone. The timesteps are spread evenly. Validations change neither the weights nor
/// the random numbers of the training.
#[derive(Debug, Clone)]
pub struct Validation {
    held_out: TrainingBatch,
    training: TrainingBatch,
    images: usize,
}

/// The mean losses of one side.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BandLosses {
    /// Over all timesteps.
    pub total: f64,
    /// In each quarter of the timesteps, from the least noise to the most.
    pub bands: [f64; BANDS],
}

/// The result of a validation: a line of metrics.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationReport {
    /// Number of steps taken.
    pub step: u64,
    /// The losses of images that are held out.
    pub held_out: BandLosses,
    /// The losses of images that are trained on.
    pub training: BandLosses,
}

/// The line of a validation in metrics.jsonl.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ValidationLine {
    /// The step again, by which lines are told apart.
    pub step: u64,
    /// The result.
    pub validation: ValidationReport,
}

/// The largest number of images of each side, for images of `values` values each: no more than there are losses, and no
/// more than take 64 MiB.
pub fn max_validation_images(values: usize) -> usize {
    ((64 << 20) / size_of::<f32>() / values.max(1)).clamp(1, LOSSES)
}

impl Validation {
    /// A validation on the images `held_out` and `training`, of which the first ones are used if one side has more.
    ///
    /// # Errors
    /// When a side has no images, or both have other shapes.
    pub fn new(held_out: TrainingBatch, training: TrainingBatch) -> Result<Self, TrainerError> {
        let images = held_out.images.dim(0)?.min(training.images.dim(0)?);
        let shapes = (&held_out.images.dims()[1..], &training.images.dims()[1..]);
        if images == 0 || shapes.0 != shapes.1 {
            let message = format!("validation: expected images of one shape, found {} of {:?}", images, shapes);
            return Err(TrainerError::Model(message));
        }
        Ok(Self { held_out, training, images })
    }

    /// Number of images of each side.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Number of losses of each band: a multiple of the images if there are fewer images than losses.
    fn losses_of_band(&self) -> usize {
        if self.images >= LOSSES { LOSSES / BANDS } else { self.images * LOSSES.div_ceil(BANDS * self.images) }
    }

    /// The number of steps between validations with which they take about 2 % of the time: a divisor or a multiple of
    /// `checkpoint_every_steps` where possible, so that checkpoints are validated. `images_per_step` is the number of
    /// images of a training step, which takes about as long as three predictions of each.
    pub fn default_interval(&self, images_per_step: usize, checkpoint_every_steps: u64) -> u64 {
        let predictions = 2 * BANDS * self.losses_of_band();
        let least = (predictions as f64 / (3.0 * images_per_step.max(1) as f64 * TIME_SHARE)).ceil().max(1.0) as u64;
        if least >= checkpoint_every_steps {
            return checkpoint_every_steps.saturating_mul(least.div_ceil(checkpoint_every_steps.max(1)));
        }
        (least..=checkpoint_every_steps).find(|steps| checkpoint_every_steps.is_multiple_of(*steps)).unwrap_or(least)
    }

    /// Number of steps between validations in a run of this configuration; 0 for none.
    pub fn interval(&self, config: &TrainConfig) -> u64 {
        config.validate_every_steps.unwrap_or_else(|| {
            let images = config.batch_size * config.gradient_accumulation_steps;
            self.default_interval(images, config.checkpoint_every_steps)
        })
    }

    /// The losses after the present step of `trainer`; None if `should_stop` returned true meanwhile.
    ///
    /// # Errors
    /// When a prediction fails.
    pub fn evaluate(
        &self,
        trainer: &Trainer,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<ValidationReport>, TrainerError> {
        let Some(held_out) = self.losses(&self.held_out, trainer, should_stop)? else { return Ok(None) };
        let Some(training) = self.losses(&self.training, trainer, should_stop)? else { return Ok(None) };
        Ok(Some(ValidationReport { step: trainer.state().step, held_out, training }))
    }

    fn losses(
        &self,
        side: &TrainingBatch,
        trainer: &Trainer,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<Option<BandLosses>, TrainerError> {
        let losses = self.losses_of_band();
        let batch_size = trainer.config().batch_size.max(1);
        let mut bands = [0.0; BANDS];
        for (band, mean) in bands.iter_mut().enumerate() {
            let timesteps = band_timesteps(trainer, band, losses);
            for first in (0..losses).step_by(batch_size) {
                if should_stop() {
                    return Ok(None);
                }
                let count = batch_size.min(losses - first);
                // Each band goes through the images, each from where the one before it ended.
                let rows: Vec<u32> =
                    (first..first + count).map(|i| ((band * losses + i) % self.images) as u32).collect();
                let noise = Noise { band, first: first as u64 };
                let loss = batch_loss(trainer, side, &rows, &timesteps[first..first + count], noise)?;
                *mean += loss * count as f64 / losses as f64;
            }
        }
        Ok(Some(BandLosses { total: bands.iter().sum::<f64>() / BANDS as f64, bands }))
    }
}

/// The timesteps of a band, evenly spread, in an order that does not depend on the images.
fn band_timesteps(trainer: &Trainer, band: usize, count: usize) -> Vec<usize> {
    let len = trainer.diffusion().schedule().len();
    let at = |i: usize| {
        let position = (band as f64 + (i as f64 + 0.5) / count as f64) / BANDS as f64;
        ((position * len as f64) as usize).min(len - 1)
    };
    let mut timesteps: Vec<usize> = (0..count).map(at).collect();
    Stream::new(trainer.state().seed, Purpose::ValidationTimesteps, band as u64).shuffle(&mut timesteps);
    timesteps
}

/// Which noise a batch of a validation gets.
#[derive(Clone, Copy)]
struct Noise {
    band: usize,
    /// The first of the batch's losses in the band.
    first: u64,
}

/// The mean loss of the images `rows` of `side` at the given timesteps.
fn batch_loss(
    trainer: &Trainer,
    side: &TrainingBatch,
    rows: &[u32],
    t: &[usize],
    Noise { band, first }: Noise,
) -> Result<f64, TrainerError> {
    let (device, diffusion) = (trainer.device(), trainer.diffusion());
    let indices = Tensor::new(rows, &Device::Cpu)?;
    let x_0 = upload(&side.images.index_select(&indices, 0)?, device)?;
    let position = (band as u64) << 32 | first;
    let noise = Stream::new(trainer.state().seed, Purpose::ValidationNoise, position);
    let eps = upload(&{ noise }.normal(x_0.dims(), &Device::Cpu)?, device)?;
    let x_t = diffusion.q_sample(&x_0, t, &eps)?.detach();
    let timesteps = diffusion.network_timesteps(t)?;
    let output = match (&side.labels, trainer.classes()) {
        (Some(labels), Some(_)) => {
            let labels: Vec<u32> = rows.iter().map(|row| labels[*row as usize]).collect();
            trainer.ema_denoiser().predict_for_classes(&x_t, &timesteps, &Tensor::new(labels, &Device::Cpu)?)?
        }
        _ => trainer.ema_denoiser().predict(&x_t, &timesteps)?,
    };
    let batch = NoisyBatch { x_0: &x_0, t, eps: &eps, x_t: &x_t };
    let loss = trainer.objective().loss_and_gradient(diffusion, &batch, &output)?.loss;
    Ok(loss.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}
