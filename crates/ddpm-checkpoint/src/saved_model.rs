//! A model as it is loaded from a file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::de::DeserializeOwned;

use crate::error::Result;
use crate::model_description::ModelDescription;
use crate::tensor_check::check_names;
use crate::tensor_file::Tensors;

/// Weights with the description of their network: everything that is needed to sample.
#[derive(Debug, Clone)]
pub struct SavedModel {
    /// The network, noise schedule and sampler that the weights belong to.
    pub description: ModelDescription,
    /// The weights by name, f32, on the CPU.
    pub tensors: Tensors,
    /// The file of the weights.
    pub path: PathBuf,
    /// The file that describes the network: `path` itself for a model file; other formats may have a separate file.
    pub network_path: PathBuf,
}

impl SavedModel {
    /// The number of optimizer steps that were taken before the weights were saved.
    pub fn step(&self) -> u64 {
        self.description.training_step
    }

    /// The configuration of the network.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming the file and the field `network`.
    pub fn network<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.network(&self.path)
    }

    /// The configuration of the noise schedule.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming the file and the field `diffusion`.
    pub fn diffusion<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.diffusion(&self.path)
    }

    /// The configuration of the default sampler.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`](crate::CheckpointError::WrongField) naming the file and the field `sampler`.
    pub fn sampler<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.sampler(&self.path)
    }

    /// Compares the names and shapes of the tensors with those that the network expects.
    ///
    /// # Errors
    /// [`CheckpointError::WrongTensors`](crate::CheckpointError::WrongTensors) with every difference.
    pub fn check_names(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        check_names(&self.tensors, expected, &self.path)
    }
}
