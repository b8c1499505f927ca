//! SavedModel files: weights that describe themselves.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::atomic_file::replace_file;
use crate::description::ModelDescription;
use crate::error::{CheckpointError, Result};
use crate::tensor_check::check_names;
use crate::tensor_file::{Tensors, open, read_stream, write_stream};

/// A model as a file gives it: enough to sample from.
#[derive(Debug, Clone)]
pub struct SavedModel {
    /// What the weights are the weights of.
    pub description: ModelDescription,
    /// The weights by name, f32, on the CPU.
    pub tensors: Tensors,
    /// The file that they come from.
    pub path: PathBuf,
    /// The file that says what their network is: the same one, or `config.json` of a UNet of the Python library diffusers.
    pub network_path: PathBuf,
}

impl SavedModel {
    /// Optimiser steps taken before these weights were saved.
    pub fn step(&self) -> u64 {
        self.description.training_step
    }

    /// The network's configuration.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming the file and `network`.
    pub fn network<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.network(&self.path)
    }

    /// The noise schedule's configuration.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming the file and `diffusion`.
    pub fn diffusion<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.diffusion(&self.path)
    }

    /// How it is sampled when nobody says otherwise.
    ///
    /// # Errors
    /// [`CheckpointError::WrongField`] naming the file and `sampler`.
    pub fn sampler<T: DeserializeOwned>(&self) -> Result<T> {
        self.description.sampler(&self.path)
    }

    /// Compares the tensors' names and shapes with those that the network has.
    ///
    /// # Errors
    /// [`CheckpointError::WrongTensors`] listing every difference.
    pub fn check_names(&self, expected: &BTreeMap<String, Vec<usize>>) -> Result<()> {
        check_names(&self.tensors, expected, &self.path)
    }
}

/// Writes a model file: safetensors, f32, sorted by name, the description as JSON under the metadata key `ddpm`. It is
/// there whole or not at all, and equal models give equal bytes.
///
/// # Errors
/// [`CheckpointError::WrongType`] and [`CheckpointError::NotFinite`] for tensors that are not f32 or not finite;
/// [`CheckpointError::WrongField`]; [`CheckpointError::TooLarge`]; [`CheckpointError::Io`]. What was at `path` is then
/// intact.
pub fn write_model(path: impl AsRef<Path>, description: &ModelDescription, tensors: &Tensors) -> Result<()> {
    let path = path.as_ref();
    let json = description.to_json(path)?;
    replace_file(path, |out| write_stream(out, Some(json), tensors, path))
}

/// Reads a model file. A plain safetensors file of [`read_tensors`](crate::read_tensors) is refused: nobody knows what
/// its weights belong to.
///
/// # Errors
/// [`CheckpointError::NoDescription`], [`CheckpointError::NewerFormat`], [`CheckpointError::WrongField`], and those of
/// [`read_tensors`](crate::read_tensors).
pub fn read_model(path: impl AsRef<Path>) -> Result<SavedModel> {
    let path = path.as_ref();
    let (mut reader, length) = open(path)?;
    read_model_stream(&mut reader, length, path)
}

/// [`read_model`] from an open file of `length` bytes.
pub(crate) fn read_model_stream(reader: &mut dyn Read, length: u64, path: &Path) -> Result<SavedModel> {
    let (description, tensors) = read_stream(reader, length, path)?;
    let json = description.ok_or_else(|| CheckpointError::NoDescription { path: path.to_owned() })?;
    let description = ModelDescription::from_json(&json, path)?;
    Ok(SavedModel { description, tensors, path: path.to_owned(), network_path: path.to_owned() })
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor};

    use ddpm_schedule::Prediction;

    use super::*;
    use crate::tensor_file::{read_tensors, write_tensors};

    fn parts() -> (ModelDescription, Tensors) {
        let description =
            ModelDescription::new(&"net", &"linear", Prediction::Epsilon, &"beta", 3, [8, 8], 500).expect("valid");
        let tensor = Tensor::new(&[1.0_f32, 2.0], &Device::Cpu).expect("room");
        (description, BTreeMap::from([("w".to_owned(), tensor)]))
    }

    #[test]
    fn a_model_file_describes_itself_and_is_reproducible() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (description, tensors) = parts();
        let at = |name: &str| dir.path().join(name);
        write_model(at("a"), &description, &tensors).expect("room");
        write_model(at("b"), &description, &tensors).expect("room");
        assert_eq!(std::fs::read(at("a")).expect("whole"), std::fs::read(at("b")).expect("whole"));
        let model = read_model(at("a")).expect("whole");
        assert_eq!((model.step(), &model.description), (500, &description));
        assert_eq!(model.network::<String>().expect("a word"), "net");
        assert!(model.diffusion::<u8>().expect_err("a word").to_string().contains("`diffusion`"));
        let wanted = BTreeMap::from([("w".to_owned(), vec![2])]);
        model.check_names(&wanted).expect("they fit");
    }

    #[test]
    fn plain_weights_are_tensors_and_no_model() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("plain.safetensors");
        write_tensors(&path, &parts().1).expect("room");
        assert_eq!(read_tensors(&path).expect("whole").len(), 1);
        let error = read_model(&path).expect_err("no description");
        assert!(matches!(error, CheckpointError::NoDescription { .. }), "{error}");
    }
}
