//! A model as it is loaded from a file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::digest::sha256_of_files;
use crate::error::{CheckpointError, IoContext, Result};
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

    /// The SHA-256 of the file of the weights, as 64 hexadecimal digits; of all shards one after the other, in the
    /// order of their names, if [`Self::path`] is the index of a model in shards.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn sha256(&self) -> Result<String> {
        sha256_of_files(&weight_files(&self.path)?)
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

/// The files that hold the weights: `path` itself, or the shards that it lists.
fn weight_files(path: &Path) -> Result<Vec<PathBuf>> {
    if path.extension().is_none_or(|extension| extension != "json") {
        return Ok(vec![path.to_owned()]);
    }
    let text = fs::read_to_string(path).on("read", path)?;
    let index: serde_json::Value = serde_json::from_str(&text)
        .map_err(|error| CheckpointError::Damaged { path: path.to_owned(), problem: error.to_string() })?;
    let files = index["weight_map"].as_object().into_iter().flatten().filter_map(|(_, file)| file.as_str());
    Ok(files.collect::<BTreeSet<_>>().into_iter().map(|file| path.with_file_name(file)).collect())
}
