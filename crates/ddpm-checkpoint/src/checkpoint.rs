//! Checkpoints: a model, what training needs to go on with it, and the proof that both are whole.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic_dir::AtomicDir;
use crate::checkpoint_list::{parse_step, step_name};
use crate::description::ModelDescription;
use crate::error::{CheckpointError, Result};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::model_file::{SavedModel, read_model_stream};
use crate::tensor_file::{Tensors, read_stream, write_stream};
use crate::versioned_json::{self, FORMAT_VERSION};

pub(crate) const MODEL_NAME: &str = "model.safetensors";
const TRAINING_NAME: &str = "training.safetensors";
const STATE_NAME: &str = "state.json";

/// State is counters and positions. What is large belongs into tensors.
const MAX_STATE_BYTES: u64 = 4 << 20;

/// All of a training run after a step. Tensors are f32; loaded ones are on the CPU.
///
/// Cloning a tensor into it copies no data, and saving streams: memory for one tensor is needed besides.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// Optimiser steps taken.
    pub step: u64,
    /// What the model is; its `training_step` is `step`.
    pub description: ModelDescription,
    /// The weights to sample with: the exponential moving average.
    pub model: Tensors,
    /// The weights being trained and the optimiser's moments, by names of the caller's choice.
    pub training: Tensors,
    /// Everything else. Numbers return exactly, f64 to the bit; JSON has no NaN and no infinity (they become null).
    pub state: Value,
}

/// `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateDocument<V> {
    format_version: u32,
    step: u64,
    state: V,
}

impl Checkpoint {
    /// Saves it as `step-NNNNNN` under the directory `checkpoints`, which must exist, and gives that path. Until
    /// everything is on the disk, no such entry is there; one of the same step from before is replaced.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::NotFinite`] and [`CheckpointError::WrongType`] naming a tensor;
    /// [`CheckpointError::WrongField`] when the description is of another step; [`CheckpointError::TooLarge`] for a
    /// state beyond 4 MiB. Checkpoints from before are then intact and the unfinished one is gone.
    pub fn save(&self, checkpoints: &Path) -> Result<PathBuf> {
        let target = checkpoints.join(step_name(self.step));
        if self.description.training_step != self.step {
            let problem = format!("expected the checkpoint's {}, found {}", self.step, self.description.training_step);
            return Err(CheckpointError::WrongField { path: target, field: "training_step".into(), problem });
        }
        let description = self.description.to_json(&target.join(MODEL_NAME))?;
        let state = StateDocument { format_version: FORMAT_VERSION, step: self.step, state: &self.state };
        let mut dir = AtomicDir::begin(&target)?;
        // The smallest first: it may be refused.
        dir.write(STATE_NAME, |out, path| versioned_json::write(out, &state, "state", MAX_STATE_BYTES, path))?;
        dir.write(MODEL_NAME, |out, path| write_stream(out, Some(description), &self.model, path))?;
        dir.write(TRAINING_NAME, |out, path| write_stream(out, None, &self.training, path))?;
        dir.commit()?;
        Ok(target)
    }

    /// Loads a checkpoint directory, with every hash checked.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::Damaged`] naming the file; [`CheckpointError::NewerFormat`];
    /// [`CheckpointError::Io`].
    pub fn load(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let manifest = read_manifest(directory)?;
        let document: StateDocument<Value> = manifest.read_file(directory, STATE_NAME, |reader, _, path| {
            versioned_json::read(reader, "state", MAX_STATE_BYTES, path)
        })?;
        let model = load_checked_model(directory, &manifest)?;
        if document.step != model.step() {
            let problem = format!("it is of step {}, the model of step {}", document.step, model.step());
            return Err(CheckpointError::damaged(&directory.join(STATE_NAME), problem));
        }
        let (_, training) = manifest.read_file(directory, TRAINING_NAME, read_stream)?;
        Ok(Self {
            step: document.step,
            description: model.description,
            model: model.tensors,
            training,
            state: document.state,
        })
    }
}

/// Reads every file of a checkpoint directory and compares it with the manifest. Nothing is kept in memory.
///
/// # Errors
/// As [`Checkpoint::load`].
pub fn verify_checkpoint(directory: impl AsRef<Path>) -> Result<()> {
    let directory = directory.as_ref();
    read_manifest(directory)?.verify(directory)
}

/// Whether there is a checkpoint at `path`, whole or damaged: a directory with a manifest or the name of one.
pub fn is_checkpoint(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let name = path.file_name().and_then(|name| name.to_str());
    path.is_dir() && (path.join(MANIFEST_NAME).exists() || name.and_then(parse_step).is_some())
}

/// Loads the model alone: its hash is checked, of the other files the presence and size.
///
/// # Errors
/// As [`Checkpoint::load`].
pub(crate) fn load_checkpoint_model(directory: &Path) -> Result<SavedModel> {
    load_checked_model(directory, &read_manifest(directory)?)
}

/// The manifest, if it lists all the files of a checkpoint and they have their sizes.
fn read_manifest(directory: &Path) -> Result<Manifest> {
    if !directory.exists() {
        return Err(CheckpointError::NotFound { path: directory.to_owned() });
    }
    let manifest = Manifest::read(directory)?;
    match [STATE_NAME, MODEL_NAME, TRAINING_NAME].into_iter().find(|name| !manifest.lists(name)) {
        Some(name) => Err(CheckpointError::damaged(directory, format!("its manifest.json lists no {name}"))),
        None => Ok(manifest),
    }
}

fn load_checked_model(directory: &Path, manifest: &Manifest) -> Result<SavedModel> {
    let model = manifest.read_file(directory, MODEL_NAME, read_model_stream)?;
    let name = directory.file_name().and_then(|name| name.to_str());
    match name.and_then(parse_step) {
        Some(named) if named != model.step() => {
            let problem = format!("it is named after step {named} and holds step {}", model.step());
            Err(CheckpointError::damaged(directory, problem))
        }
        _ => Ok(model),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use candle_core::{Device, Tensor};
    use serde_json::json;

    use ddpm_schedule::Prediction;

    use super::*;

    fn checkpoint(step: u64) -> Checkpoint {
        let tensor = |value: f32| Tensor::new(&[value], &Device::Cpu).expect("room");
        Checkpoint {
            step,
            description: ModelDescription::new(&"net", &"linear", Prediction::Epsilon, &"beta", 1, [8, 8], step)
                .expect("valid"),
            model: BTreeMap::from([("w".to_owned(), tensor(1.0))]),
            training: BTreeMap::from([("weights.w".to_owned(), tensor(2.0)), ("m.w".to_owned(), tensor(3.0))]),
            state: json!({ "epoch": 3 }),
        }
    }

    #[test]
    fn it_loads_under_any_name_but_that_of_another_step() {
        let dir = tempfile::tempdir().expect("temp dir");
        let saved = checkpoint(500).save(dir.path()).expect("room");
        assert_eq!(saved, dir.path().join("step-000500"));
        let renamed = |name: &str| {
            let path = dir.path().join(name);
            fs::rename(&saved, &path).expect("free");
            let loaded = Checkpoint::load(&path);
            fs::rename(&path, &saved).expect("free");
            loaded
        };
        assert_eq!(renamed("best").expect("whole").state, json!({ "epoch": 3 }));
        let error = renamed("step-000700").expect_err("a lie");
        assert!(error.to_string().contains("named after step 700 and holds step 500"), "{error}");
    }

    #[test]
    fn a_refused_part_leaves_the_earlier_checkpoint_alone() {
        let dir = tempfile::tempdir().expect("temp dir");
        let good = checkpoint(500);
        good.save(dir.path()).expect("room");
        let mut nan = good.clone();
        nan.training.insert("m.w".to_owned(), Tensor::new(&[f32::NAN], &Device::Cpu).expect("room"));
        let message = nan.save(dir.path()).expect_err("NaN").to_string();
        assert!(message.contains("training.safetensors: tensor `m.w`"), "{message}");
        let mut large = good.clone();
        large.state = "x".repeat(4 << 20).into();
        assert!(matches!(large.save(dir.path()), Err(CheckpointError::TooLarge { .. })));
        let mut other = good;
        other.step = 501;
        assert!(other.save(dir.path()).expect_err("501").to_string().contains("`training_step`"));
        assert_eq!(fs::read_dir(dir.path()).expect("there").count(), 1);
        verify_checkpoint(dir.path().join("step-000500")).expect("intact");
    }

    #[test]
    fn the_model_alone_needs_the_others_only_to_be_there() {
        let dir = tempfile::tempdir().expect("temp dir");
        let saved = checkpoint(5).save(dir.path()).expect("room");
        let training = saved.join(TRAINING_NAME);
        let mut bytes = fs::read(&training).expect("whole");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&training, &bytes).expect("room");
        assert_eq!(load_checkpoint_model(&saved).expect("its own hash holds").step(), 5);
        assert!(Checkpoint::load(&saved).expect_err("flipped").to_string().contains(TRAINING_NAME));
        fs::write(&training, &bytes[1..]).expect("room");
        assert!(load_checkpoint_model(&saved).expect_err("cut").to_string().contains(TRAINING_NAME));
    }
}
