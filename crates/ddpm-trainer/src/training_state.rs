//! The state that a run needs to continue exactly as if it had not been interrupted.

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use ddpm_distributed::Communicator;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::TrainerError;
use crate::gradient_buckets::check_same_bytes;

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

/// All tensors in an order that is the same on all ranks.
fn tensors(snapshot: &mut Snapshot) -> impl Iterator<Item = (&String, &mut Tensor)> {
    snapshot.ema_parameters.iter_mut().chain(snapshot.training.iter_mut())
}

impl Snapshot {
    /// The snapshot of rank 0, on every rank. `own` is that of this rank, which has the same names and shapes.
    ///
    /// # Errors
    /// [`TrainerError::Ranks`] when the ranks have different names or shapes, and when a rank does not answer.
    pub(crate) fn of_rank_0(mut own: Self, communicator: &dyn Communicator) -> Result<Self, TrainerError> {
        let layout: String = tensors(&mut own).map(|(name, tensor)| format!("{name} {:?}\n", tensor.shape())).collect();
        let hash = Sha256::digest(layout).to_vec();
        check_same_bytes(communicator, hash, "the names and shapes of the tensors of the training")?;
        let root = communicator.rank() == 0;
        let (mut values, mut state) = (Vec::new(), Vec::new());
        if root {
            state = serde_json::to_vec(&own.state).map_err(|error| TrainerError::State(error.to_string()))?;
            for (_, tensor) in tensors(&mut own) {
                let tensor = tensor.flatten_all()?.to_device(&Device::Cpu)?.to_dtype(DType::F32)?;
                values.extend(tensor.to_vec1::<f32>()?.into_iter().flat_map(f32::to_le_bytes));
            }
        }
        let (values, state) = (communicator.broadcast(values)?, communicator.broadcast(state)?);
        if root {
            return Ok(own);
        }
        own.state = serde_json::from_slice(&state).map_err(|error| TrainerError::State(error.to_string()))?;
        let mut values = values.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value));
        for (_, tensor) in tensors(&mut own) {
            let of_rank_0 = values.by_ref().take(tensor.elem_count()).collect();
            *tensor = Tensor::from_vec(of_rank_0, tensor.shape(), &Device::Cpu)?
                .to_device(tensor.device())?
                .to_dtype(tensor.dtype())?;
        }
        Ok(own)
    }
}
