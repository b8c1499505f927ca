//! What the `[train]` table of a configuration says.

use ddpm_ops::Precision;
use serde::{Deserialize, Serialize};

use crate::adam::{AdamConfig, Optimizer};
use crate::{LearningRateSchedule, TrainerError};

/// How a model is trained. Plain data: [`TrainConfig::validate`] says whether it can be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run, from 1. Exclusive with `epochs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Passes over the data of the whole run, from 1. Exclusive with `steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epochs: Option<u64>,
    /// Images of one forward and backward pass, from 1.
    pub batch_size: usize,
    /// Names every random draw of the run.
    pub seed: u64,
    /// Base learning rate, above 0.
    pub learning_rate: f64,
    /// Its shape over the run.
    pub learning_rate_schedule: LearningRateSchedule,
    /// Steps over which the learning rate rises to its base.
    pub warmup_steps: u64,
    /// `adam` or `adamw`.
    pub optimizer: Optimizer,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment, above 0.
    pub epsilon: f64,
    /// At least 0.
    pub weight_decay: f64,
    /// Largest global norm of a gradient; 0 for no limit.
    pub gradient_clip_norm: f64,
    /// Batches whose gradients are averaged into one step, from 1.
    pub gradient_accumulation_steps: usize,
    /// What the network computes in: `f32`, `tf32` or `bf16`; weights, moments and averages are f32 in any case. `f32` if left
    /// out. On the CPU the others are there to be tried, and slower.
    #[serde(default)]
    pub precision: Precision,
    /// Whether the activations of residual blocks are computed again for the gradient rather than kept: less memory, more time.
    /// False if left out.
    #[serde(default)]
    pub recompute: bool,
    /// Decay of the averaged weights, in [0, 1).
    pub ema_decay: f64,
    /// Whether the average follows the weights more closely at first: see [`crate::ema_decay`].
    pub ema_warmup: bool,
    /// Steps between checkpoints, from 1; the last step always leaves one.
    pub checkpoint_every_steps: u64,
    /// Newest checkpoints that are kept, from 1.
    pub keep_last_checkpoints: usize,
    /// Checkpoints at multiples of this are kept for good; 0 for none.
    pub keep_every_steps: u64,
    /// Steps between preview grids; 0 for none, the last step aside.
    pub sample_every_steps: u64,
    /// Steps between lines of metrics.jsonl, from 1.
    pub log_every_steps: u64,
    /// Steps in a row whose loss or gradient is not finite before the run gives up, from 1.
    pub max_skipped_steps: u64,
}

impl TrainConfig {
    /// Whether a run of this configuration makes sense.
    ///
    /// # Errors
    /// [`TrainerError::Config`] with the first field that does not hold what it may.
    pub fn validate(&self) -> Result<(), TrainerError> {
        let positive = "a number from 1";
        check("train.batch_size", positive, self.batch_size, self.batch_size > 0)?;
        match (self.steps, self.epochs) {
            (Some(_), Some(_)) => {
                let found = format!("steps = {:?} and epochs = {:?}", self.steps, self.epochs);
                return Err(TrainerError::config("train.steps", "either steps or epochs", found));
            }
            (None, None) => return Err(TrainerError::config("train.steps", "steps or epochs", "neither".into())),
            (steps, epochs) => {
                check("train.steps", positive, steps.unwrap_or(1), steps != Some(0))?;
                check("train.epochs", positive, epochs.unwrap_or(1), epochs != Some(0))?;
            }
        }
        let rate = self.learning_rate;
        check("train.learning_rate", "a finite number above 0", rate, rate > 0.0 && (rate as f32).is_finite())?;
        let share = "a number in [0, 1)";
        for (field, value) in
            [("train.beta1", self.beta1), ("train.beta2", self.beta2), ("train.ema_decay", self.ema_decay)]
        {
            check(field, share, value, (0.0..1.0).contains(&value))?;
        }
        let epsilon = self.epsilon;
        check("train.epsilon", "a finite number above 0", epsilon, epsilon > 0.0 && epsilon.is_finite())?;
        for (field, value) in
            [("train.weight_decay", self.weight_decay), ("train.gradient_clip_norm", self.gradient_clip_norm)]
        {
            check(field, "a finite number from 0", value, value >= 0.0 && (value as f32).is_finite())?;
        }
        let accumulation = self.gradient_accumulation_steps;
        // A step of more never ends.
        let parts = "a number from 1 to 1000000";
        check("train.gradient_accumulation_steps", parts, accumulation, (1..=1_000_000).contains(&accumulation))?;
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

    /// The steps of the whole run, for data that makes that many batches an epoch. At least 1.
    pub fn total_steps(&self, batches_per_epoch: u64) -> u64 {
        let by_epochs = |epochs: u64| {
            epochs.saturating_mul(batches_per_epoch).div_ceil(self.gradient_accumulation_steps.max(1) as u64)
        };
        self.steps.or(self.epochs.map(by_epochs)).unwrap_or(1).max(1)
    }

    pub(crate) fn adam(&self) -> AdamConfig {
        let Self { optimizer, beta1, beta2, epsilon, weight_decay, .. } = *self;
        AdamConfig { optimizer, beta1, beta2, epsilon, weight_decay }
    }

    pub(crate) fn max_norm(&self) -> Option<f64> {
        (self.gradient_clip_norm > 0.0).then_some(self.gradient_clip_norm)
    }
}

fn check(field: &'static str, expected: &str, found: impl std::fmt::Debug, holds: bool) -> Result<(), TrainerError> {
    if holds { Ok(()) } else { Err(TrainerError::config(field, expected, format!("{found:?}"))) }
}
