//! The trained weights of a checkpoint, and the averages of them besides the model's.

use std::path::Path;

use crate::checkpoint::read_training_tensors;
use crate::error::Result;
use crate::tensor_file::Tensors;
use crate::weight_names::{EMA, PARAMETER_PREFIX, ema_prefix};

/// The tensors of a checkpoint besides its model.
#[derive(Debug, Clone)]
pub struct TrainingWeights(Tensors);

impl TrainingWeights {
    /// Reads them from a checkpoint directory, and checks their hash.
    ///
    /// # Errors
    /// The errors of [`Checkpoint::load`](crate::Checkpoint::load).
    pub fn load(directory: impl AsRef<Path>) -> Result<Self> {
        read_training_tensors(directory.as_ref()).map(Self)
    }

    /// The trained weights, by the names of the parameters.
    pub fn trained(&self) -> Tensors {
        self.with_prefix(PARAMETER_PREFIX)
    }

    /// The further exponential average of this decay; empty if there is none.
    pub fn average(&self, decay: f64) -> Tensors {
        self.with_prefix(&ema_prefix(decay))
    }

    /// The decays of the further exponential averages, in increasing order.
    pub fn decays(&self) -> Vec<f64> {
        let decay = |name: &String| {
            // A decay and the name of a parameter may both contain dots: the longest number is the decay.
            let rest = name.strip_prefix(EMA)?;
            let dots = rest.match_indices('.').map(|(at, _)| at);
            dots.rev().find_map(|at| rest[..at].parse::<f64>().ok())
        };
        let mut decays: Vec<f64> = self.0.keys().filter_map(decay).collect();
        decays.sort_by(f64::total_cmp);
        decays.dedup();
        decays
    }

    fn with_prefix(&self, prefix: &str) -> Tensors {
        let stripped = self.0.iter().filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)));
        stripped.map(|(name, tensor)| (name.to_owned(), tensor.clone())).collect()
    }
}
