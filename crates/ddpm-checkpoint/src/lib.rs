//! Run directories, checkpoints and model files.
//!
//! The crate writes named tensors and plain data to disk and reads them back. Files and directories are replaced
//! atomically, damage is detected and reported with the name of the file, one process at a time holds a run, and a
//! model file describes its own network. The crate does not depend on a network, sampler or optimizer: configurations
//! are types of its callers. It executes nothing that it reads, and no name in a file refers to a path outside of the
//! file's directory.
//!
//! Reading order:
//! - model files: [`Tensors`] and [`read_tensors`] (`tensor_file`, `header`, `half_precision`), [`ModelDescription`],
//!   [`SavedModel`], [`write_model`] and [`read_model`] (`model_file`), [`check_names`];
//! - checkpoints: [`Checkpoint`], [`list_checkpoints`], [`Retention`], [`TrainingWeights`], averages of the weights for
//!   post-hoc EMA ([`list_weight_averages`]), and below them directories that are written atomically with a manifest
//!   (`atomic_dir`, `manifest`, `digest`);
//! - runs: [`RunDir`], [`MetricsLog`], the lock (`lock`) and the names in a run directory (`run_layout`);
//! - paths: [`find_saved_model`], [`newest_run`], [`next_free_name`];
//! - files: [`write_atomically`], [`check_plain_name`], and the removal of temporary files (`temporary`).
//!
//! # Examples
//! ```
//! use std::collections::BTreeMap;
//!
//! use candle_core::{Device, Tensor};
//! use ddpm_checkpoint::{Checkpoint, ModelDescription, RunDir, find_saved_model};
//! use ddpm_schedule::Prediction;
//!
//! let root = tempfile::tempdir()?;
//! let mut run = RunDir::create(root.path().join("digits"))?;
//! run.save_config("[train]\nsteps = 500\n")?;
//!
//! let weights = BTreeMap::from([("input_conv.weight".to_owned(), Tensor::new(&[0.5_f32, -1.0], &Device::Cpu)?)]);
//! run.save_checkpoint(&Checkpoint {
//!     step: 500,
//!     description: ModelDescription::new(&"a network", &"a schedule", Prediction::Epsilon, &"beta", 1, [8, 8], 500)?,
//!     model: weights.clone(),
//!     training: weights,
//!     state: serde_json::json!({ "epoch": 35 }),
//! })?;
//!
//! let model = find_saved_model(run.path())?;
//! assert_eq!(model.step(), 500);
//! assert_eq!(model.network::<String>()?, "a network");
//! assert_eq!(model.tensors["input_conv.weight"].to_vec1::<f32>()?, [0.5, -1.0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod error;

mod directory_sync;
mod own_file;
mod plain_name;
mod temporary;

mod digest;
mod versioned_json;

mod atomic_file;
mod manifest;

mod atomic_dir;

mod finite;
mod half_precision;
mod header;
mod tensor_file;

mod tensor_check;

mod model_description;
mod model_file;
mod saved_model;

mod checkpoint;
mod checkpoint_list;
mod retention;
mod step_name;
mod training_weights;
mod weight_averages;
mod weight_names;

mod run_layout;

mod free_name;
mod lock;
mod metrics_log;
mod newest_run;
mod run_dir;

mod model_path;

pub use atomic_file::write_atomically;
pub use checkpoint::{Checkpoint, is_checkpoint, read_state, verify_checkpoint};
pub use checkpoint_list::{CheckpointEntry, list_checkpoints};
pub use digest::sha256_of_files;
pub use error::CheckpointError;
pub use finite::check_finite;
pub use free_name::next_free_name;
pub use metrics_log::{MetricsLog, read_metrics};
pub use model_description::{ClassDescription, ModelDescription};
pub use model_file::{read_model, write_model};
pub use model_path::find_saved_model;
pub use newest_run::newest_run;
pub use plain_name::check_plain_name;
pub use retention::Retention;
pub use run_dir::RunDir;
pub use saved_model::SavedModel;
pub use tensor_check::check_names;
pub use tensor_file::{Tensors, read_tensors, write_tensors};
pub use training_weights::TrainingWeights;
pub use weight_averages::{StoredAverage, WeightAverage, list_weight_averages};
pub use weight_names::{PARAMETER_PREFIX, ema_prefix, power_ema_prefix};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
