//! The `[train]` table of a configuration.

use std::fmt::Debug;

use ddpm_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::adam_config::{AdamConfig, Optimizer};
use crate::ema_decays::EmaDecays;
use crate::error::TrainerError;
use crate::learning_rate::LearningRateSchedule;
use crate::parameter_update::UpdateConfig;

/// How a model is trained. These are plain data; [`TrainConfig::validate`] checks them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Number of optimizer steps of the whole run, at least 1. Exactly one of `steps` and `epochs` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Number of passes over the data of the whole run, at least 1. Exactly one of `steps` and `epochs` is given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Images per forward and backward pass, at least 1.
    pub batch_size: usize,
    /// The seed of every random stream of the run.
    pub seed: u64,
    /// Base learning rate, above 0.
    pub learning_rate: f64,
    /// How the learning rate changes over the run.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Number of steps over which the learning rate rises to its base.
    pub warmup_steps: u64,
    /// `adam` or `adamw`.
    pub optimizer: Optimizer,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// The number added to the root of the second moment, above 0.
    pub epsilon: f64,
    /// Weight decay, at least 0.
    pub weight_decay: f64,
    /// Largest global norm of a gradient; 0 for no limit.
    pub gradient_clip_norm: f64,
    /// Number of batches whose gradients are averaged into one step, at least 1.
    pub gradient_accumulation_steps: usize,
    /// Size of the buckets in which ranks sum their gradients, in MiB, above 0. 25 if left out, as in PyTorch. Has no
    /// effect on the result, nor on a single process.
    #[serde(default = "default_gradient_bucket_mb")]
    pub gradient_bucket_mb: f64,
    /// The precision in which the network computes: `f32`, `tf32` or `bf16`; `f32` if left out. Weights, moments and
    /// EMA are f32 in any case. On the CPU, `bf16` is slower than `f32`.
    #[serde(default)]
    pub precision: Precision,
    /// Whether the backward pass computes the activations of residual blocks again instead of keeping them, which
    /// takes less memory and more time. False if left out.
    #[serde(default)]
    pub recompute: bool,
    /// Whether a GPU captures the operations of a step as a CUDA graph and replays them, which takes the CPU less time.
    /// Has no effect on the CPU, and requires `gradient_accumulation_steps = 1`. False if left out.
    #[serde(default)]
    pub cuda_graph: bool,
    /// The share of images that a class-conditional network is trained on without their class, in [0, 1), so that it
    /// also learns the predictions without a class that guidance needs (Ho & Salimans 2022). 0.1 if left out.
    #[serde(default = "default_class_dropout")]
    pub class_dropout: f64,
    /// Decay of the EMA of the weights, in [0, 1), or a list of decays: the first one belongs to the average that
    /// previews, model files and pipelines contain, the others to further averages in each checkpoint.
    pub ema_decay: EmaDecays,
    /// Whether the EMA follows the weights more closely at first: see [`ema_decay`](ddpm_ema::ema_decay).
    pub ema_warmup: bool,
    /// Number of steps between the power-function averages that a run stores for post-hoc EMA (Karras et al. 2024b);
    /// 0 for none. 0 if left out.
    #[serde(default)]
    pub power_ema_every_steps: u64,
    /// Number of steps between checkpoints, at least 1. The last step always writes one.
    pub checkpoint_every_steps: u64,
    /// Number of newest checkpoints to keep, at least 1.
    pub keep_last_checkpoints: usize,
    /// Checkpoints at multiples of this number of steps are never removed; 0 for none.
    pub keep_every_steps: u64,
    /// Number of steps between previews; 0 for a preview after the last step only.
    pub sample_every_steps: u64,
    /// Number of steps between validations on images that are held out; 0 for none. If left out,
    /// [`Validation::default_interval`](crate::Validation::default_interval).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validate_every_steps: Option<u64>,
    /// Whether a sustained rise of the held-out loss ends the run: see
    /// [`ValidationHistory::is_overfit`](crate::ValidationHistory::is_overfit). False if left out.
    #[serde(default)]
    pub stop_when_overfit: bool,
    /// Number of steps between lines of metrics.jsonl, at least 1.
    pub log_every_steps: u64,
    /// Number of steps in a row with a loss or gradient that is not finite after which the run ends with an error, at
    /// least 1.
    pub max_skipped_steps: u64,
}

fn default_class_dropout() -> f64 {
    0.1
}

fn default_gradient_bucket_mb() -> f64 {
    25.0
}

impl TrainConfig {
    /// Checks every field.
    ///
    /// # Errors
    /// [`TrainerError::Config`] naming the first field whose value is outside of its range.
    pub fn validate(&self) -> Result<(), TrainerError> {
        let positive = "a number from 1";
        check("train.batch_size", positive, self.batch_size, self.batch_size > 0)?;
        self.validate_length()?;
        self.validate_optimization()?;
        let accumulation = self.gradient_accumulation_steps;
        // A step of more batches would practically never end.
        let expected = "a number from 1 to 1000000";
        check("train.gradient_accumulation_steps", expected, accumulation, (1..=1_000_000).contains(&accumulation))?;
        let bucket = self.gradient_bucket_mb;
        check("train.gradient_bucket_mb", "a finite number above 0", bucket, bucket > 0.0 && bucket.is_finite())?;
        let holds = !self.cuda_graph || accumulation == 1;
        let expected = "false with train.gradient_accumulation_steps above 1";
        check("train.cuda_graph", expected, self.cuda_graph, holds)?;
        check("train.keep_last_checkpoints", positive, self.keep_last_checkpoints, self.keep_last_checkpoints > 0)?;
        for (field, value) in [
            ("train.checkpoint_every_steps", self.checkpoint_every_steps),
            ("train.log_every_steps", self.log_every_steps),
            ("train.max_skipped_steps", self.max_skipped_steps),
        ] {
            check(field, positive, value, value > 0)?;
        }
        Ok(())
    }

    /// Checks that the length of the run is given once.
    fn validate_length(&self) -> Result<(), TrainerError> {
        match (self.steps, self.epochs) {
            (Some(_), Some(_)) => {
                let found = format!("steps = {:?} and epochs = {:?}", self.steps, self.epochs);
                Err(TrainerError::config("train.steps", "either steps or epochs", found))
            }
            (None, None) => Err(TrainerError::config("train.steps", "steps or epochs", "neither".into())),
            (steps, epochs) => {
                let positive = "a number from 1";
                check("train.steps", positive, steps.unwrap_or(1), steps != Some(0))?;
                check("train.epochs", positive, epochs.unwrap_or(1), epochs != Some(0))
            }
        }
    }

    /// Checks the numbers of the optimizer, the clipping and the EMA.
    fn validate_optimization(&self) -> Result<(), TrainerError> {
        let rate = self.learning_rate;
        check("train.learning_rate", "a finite number above 0", rate, rate > 0.0 && (rate as f32).is_finite())?;
        for (field, value) in
            [("train.beta1", self.beta1), ("train.beta2", self.beta2), ("train.class_dropout", self.class_dropout)]
        {
            check(field, "a number in [0, 1)", value, (0.0..1.0).contains(&value))?;
        }
        self.ema_decay.validate().map_err(|found| {
            let expected = "a number in [0, 1), or a list of different ones";
            TrainerError::config("train.ema_decay", expected, found)
        })?;
        let epsilon = self.epsilon;
        check("train.epsilon", "a finite number above 0", epsilon, epsilon > 0.0 && epsilon.is_finite())?;
        for (field, value) in
            [("train.weight_decay", self.weight_decay), ("train.gradient_clip_norm", self.gradient_clip_norm)]
        {
            check(field, "a finite number from 0", value, value >= 0.0 && (value as f32).is_finite())?;
        }
        Ok(())
    }

    /// Number of steps of the whole run, at least 1, for data of `batches_per_epoch` batches.
    pub fn total_steps(&self, batches_per_epoch: u64) -> u64 {
        let by_epochs = |epochs: u64| {
            epochs.saturating_mul(batches_per_epoch).div_ceil(self.gradient_accumulation_steps.max(1) as u64)
        };
        self.steps.or(self.epochs.map(by_epochs)).unwrap_or(1).max(1)
    }

    /// The learning rate of a step, counted from 0, of a run of `total_steps` steps.
    pub(crate) fn learning_rate_at(&self, step: u64, total_steps: u64) -> f64 {
        self.learning_rate * self.learning_rate_schedule.factor(step, self.warmup_steps, total_steps)
    }

    /// Size of a bucket of gradients in bytes.
    pub(crate) fn bucket_bytes(&self) -> usize {
        (self.gradient_bucket_mb * f64::from(1 << 20)) as usize
    }

    pub(crate) fn update(&self) -> UpdateConfig {
        let Self { optimizer, beta1, beta2, epsilon, weight_decay, ema_warmup, .. } = *self;
        UpdateConfig {
            adam: AdamConfig { optimizer, beta1, beta2, epsilon, weight_decay },
            max_gradient_norm: (self.gradient_clip_norm > 0.0).then_some(self.gradient_clip_norm),
            ema_decay: self.ema_decay.first(),
            ema_warmup,
        }
    }
}

fn check(field: &'static str, expected: &str, found: impl Debug, holds: bool) -> Result<(), TrainerError> {
    if holds { Ok(()) } else { Err(TrainerError::config(field, expected, format!("{found:?}"))) }
}
