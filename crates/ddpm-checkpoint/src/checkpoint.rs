//! Checkpoints: a model, the state that training needs to continue, and a manifest of hashes.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::atomic_dir::AtomicDir;
use crate::error::{CheckpointError, Result};
use crate::manifest::{MANIFEST_NAME, Manifest};
use crate::model_description::ModelDescription;
use crate::model_file::read_model_stream;
use crate::saved_model::SavedModel;
use crate::step_name::{parse_step, step_name};
use crate::tensor_file::{Tensors, read_stream, write_stream};
use crate::versioned_json::{self, FORMAT_VERSION};

/// The file of the description and the averaged weights.
pub(crate) const MODEL_NAME: &str = "model.safetensors";
/// The file of the trained weights and the state of the optimizer.
const TRAINING_NAME: &str = "training.safetensors";
/// The file of the other state.
const STATE_NAME: &str = "state.json";

/// The largest `state.json`, in bytes. It holds counters and positions; large state is stored as tensors.
const MAX_STATE_BYTES: u64 = 4 << 20;

/// The complete state of a training run after a step. Tensors are f32, and on the CPU when they were loaded.
///
/// Cloning a tensor does not copy its data. Saving needs additional memory for one tensor.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// The number of optimizer steps taken.
    pub step: u64,
    /// The description of the model. Its `training_step` equals `step`.
    pub description: ModelDescription,
    /// The weights for sampling: the exponential moving average.
    pub model: Tensors,
    /// The trained weights and the state of the optimizer, under names that the caller chooses.
    pub training: Tensors,
    /// All other state. Numbers are read back exactly, f64 included. JSON has no NaN and no infinity: they become null.
    pub state: Value,
}

/// The contents of `state.json`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StateDocument<V> {
    format_version: u32,
    step: u64,
    state: V,
}

impl Checkpoint {
    /// Saves the checkpoint as `step-NNNNNN` in the directory `checkpoints`, which must exist, and returns its path.
    ///
    /// The directory gets its name when all files are on the disk. A checkpoint of the same step is replaced.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::NotFinite`] and [`CheckpointError::WrongType`] naming a tensor;
    /// [`CheckpointError::WrongField`] if the description is of another step; [`CheckpointError::TooLarge`] for a state
    /// of more than 4 MiB. Existing checkpoints are then unchanged, and the incomplete one is removed.
    pub fn save(&self, checkpoints: &Path) -> Result<PathBuf> {
        let target = checkpoints.join(step_name(self.step));
        if self.description.training_step != self.step {
            let problem = format!("expected the checkpoint's {}, found {}", self.step, self.description.training_step);
            return Err(CheckpointError::WrongField { path: target, field: "training_step".into(), problem });
        }
        let description = self.description.to_json(&target.join(MODEL_NAME))?;
        let state = StateDocument { format_version: FORMAT_VERSION, step: self.step, state: &self.state };
        let mut dir = AtomicDir::begin(&target)?;
        // The state is written first because it is small and may be refused.
        dir.write(STATE_NAME, |out, path| versioned_json::write(out, &state, "state", MAX_STATE_BYTES, path))?;
        dir.write(MODEL_NAME, |out, path| write_stream(out, Some(description), &self.model, path))?;
        dir.write(TRAINING_NAME, |out, path| write_stream(out, None, &self.training, path))?;
        dir.commit()?;
        Ok(target)
    }

    /// Loads a checkpoint directory and checks the hash of every file.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::Damaged`] naming the file; [`CheckpointError::NewerFormat`];
    /// [`CheckpointError::Io`].
    pub fn load(directory: impl AsRef<Path>) -> Result<Self> {
        let directory = directory.as_ref();
        let manifest = read_manifest(directory)?;
        let document = read_state_document(directory, &manifest)?;
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

/// Reads [`Checkpoint::state`] of a checkpoint directory. Only the hash of `state.json` is checked.
///
/// # Errors
/// The errors of [`Checkpoint::load`].
pub fn read_state(directory: impl AsRef<Path>) -> Result<Value> {
    let directory = directory.as_ref();
    Ok(read_state_document(directory, &read_manifest(directory)?)?.state)
}

/// The step of a checkpoint directory. Only the hash of `state.json` is checked.
pub(crate) fn checkpoint_step(directory: &Path) -> Result<u64> {
    Ok(read_state_document(directory, &read_manifest(directory)?)?.step)
}

/// Reads [`Checkpoint::training`] of a checkpoint directory. Only the hash of its file is checked.
pub(crate) fn read_training_tensors(directory: &Path) -> Result<Tensors> {
    Ok(read_manifest(directory)?.read_file(directory, TRAINING_NAME, read_stream)?.1)
}

/// Checks the hash of every file of a checkpoint directory without keeping the files in memory.
///
/// # Errors
/// The errors of [`Checkpoint::load`].
pub fn verify_checkpoint(directory: impl AsRef<Path>) -> Result<()> {
    let directory = directory.as_ref();
    read_manifest(directory)?.verify(directory)
}

/// Whether `path` is a checkpoint, valid or damaged: a directory that has a manifest or the name of a checkpoint.
pub fn is_checkpoint(path: impl AsRef<Path>) -> bool {
    let path = path.as_ref();
    let name = path.file_name().and_then(|name| name.to_str());
    path.is_dir() && (path.join(MANIFEST_NAME).exists() || name.and_then(parse_step).is_some())
}

/// Loads the model of a checkpoint. The hash of the model file is checked; of the other files, existence and size are.
///
/// # Errors
/// The errors of [`Checkpoint::load`].
pub(crate) fn load_checkpoint_model(directory: &Path) -> Result<SavedModel> {
    load_checked_model(directory, &read_manifest(directory)?)
}

fn read_state_document(directory: &Path, manifest: &Manifest) -> Result<StateDocument<Value>> {
    manifest.read_file(directory, STATE_NAME, |reader, _, path| {
        versioned_json::read(reader, "state", MAX_STATE_BYTES, path)
    })
}

/// Reads the manifest and checks that it lists all files of a checkpoint.
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

/// Loads the model and checks that the name of the directory, if it contains a step, matches.
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
    fn a_checkpoint_can_be_renamed_but_not_to_another_step() {
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
        assert_eq!(renamed("best").expect("valid").state, json!({ "epoch": 3 }));
        let error = renamed("step-000700").expect_err("the step differs");
        assert!(error.to_string().contains("named after step 700 and holds step 500"), "{error}");
    }

    #[test]
    fn a_refused_part_leaves_the_earlier_checkpoint_unchanged() {
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
    fn loading_the_model_checks_only_the_size_of_the_other_files() {
        let dir = tempfile::tempdir().expect("temp dir");
        let saved = checkpoint(5).save(dir.path()).expect("room");
        let training = saved.join(TRAINING_NAME);
        let mut bytes = fs::read(&training).expect("valid");
        *bytes.last_mut().expect("not empty") ^= 1;
        fs::write(&training, &bytes).expect("room");
        assert_eq!(load_checkpoint_model(&saved).expect("the hash of the model matches").step(), 5);
        assert!(Checkpoint::load(&saved).expect_err("flipped").to_string().contains(TRAINING_NAME));
        fs::write(&training, &bytes[1..]).expect("room");
        assert!(load_checkpoint_model(&saved).expect_err("cut").to_string().contains(TRAINING_NAME));
    }
}
