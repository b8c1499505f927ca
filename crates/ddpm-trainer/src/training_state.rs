//! The state that a run needs to continue exactly as if it had not been interrupted.

use std::collections::BTreeMap;

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::TrainerError;

/// The counters of a run, which a checkpoint stores in `state.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Steps taken, including skipped ones.
    pub step: u64,
    /// Batches read from the data: also the position of the random streams of timesteps, noise and dropout.
    pub batches: u64,
    /// Steps of the optimizer, which skipped steps are not.
    pub optimizer_steps: u64,
    /// Updates of the EMA, which skipped steps are not.
    pub ema_updates: u64,
    /// Number of steps that have been skipped in a row up to now.
    pub skipped_in_a_row: u64,
    /// Number of skipped steps of the whole run.
    pub skipped: u64,
    /// The seed of every random stream.
    pub seed: u64,
    /// Number of images of a batch, which gives `batches` its meaning.
    pub batch_size: usize,
    /// What identifies the training data, in the caller's own form. The trainer stores it and does not interpret it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl TrainingState {
    /// The state of a run before its first step.
    pub(crate) fn new(seed: u64, batch_size: usize) -> Self {
        Self {
            step: 0,
            batches: 0,
            optimizer_steps: 0,
            ema_updates: 0,
            skipped_in_a_row: 0,
            skipped: 0,
            seed,
            batch_size,
            data: None,
        }
    }

    /// Counts a step whose result is known.
    pub(crate) fn count_result(&mut self, skipped: bool) {
        if skipped {
            self.skipped += 1;
            self.skipped_in_a_row += 1;
        } else {
            self.skipped_in_a_row = 0;
            self.optimizer_steps += 1;
            self.ema_updates += 1;
        }
    }

    /// An error unless a run with the state `saved` continues with the seed and the batch size of this one.
    pub(crate) fn check_same_run(&self, saved: &Self) -> Result<(), TrainerError> {
        for (field, saved, own) in [
            ("train.seed", saved.seed, self.seed),
            ("train.batch_size", saved.batch_size as u64, self.batch_size as u64),
        ] {
            if saved != own {
                return Err(TrainerError::State(format!("{field} was {saved} and is now {own}")));
            }
        }
        Ok(())
    }
}

/// Everything that the next step depends on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The EMA of the weights, by the names of the parameters.
    pub ema_parameters: BTreeMap<String, Tensor>,
    /// The weights, as `parameter.NAME`; Adam's moments, as `adam.first.NAME` and `adam.second.NAME`; further averages,
    /// as `ema.DECAY.NAME` and `power.SIGMA_REL.NAME`.
    pub training: BTreeMap<String, Tensor>,
    /// The counters.
    pub state: TrainingState,
}
