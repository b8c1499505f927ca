//! Run directories, checkpoints and model files: the only crate of the workspace that knows a file format of weights.
//!
//! It owns what is written to disk and read back: that a checkpoint is there whole or not at all, that damage is found
//! and named, that one process at a time writes to a run, that a model file says what it is the model of. It leaves
//! out what the tensors mean: names, optimisers and configurations are the callers', here they are named tensors and
//! plain data. It executes nothing that it reads, and no name in a file leads out of the file's directory.
//!
//! In reading order: model files ([`ModelDescription`], [`write_model`], [`read_model`], [`read_tensors`],
//! [`check_names`]); checkpoints ([`Checkpoint`], [`Retention`]); the run's directory ([`RunDir`], [`MetricsLog`]);
//! finding ([`find_saved_model`], [`newest_run`], [`next_free_name`]).
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

mod description;
mod model_file;

mod checkpoint;
mod checkpoint_list;
mod retention;

mod run_layout;

mod free_name;
mod lock;
mod metrics;
mod newest_run;
mod run_dir;

mod model_path;

pub use atomic_file::write_atomically;
pub use checkpoint::{Checkpoint, is_checkpoint, verify_checkpoint};
pub use checkpoint_list::{CheckpointEntry, list_checkpoints};
pub use description::ModelDescription;
pub use error::{CheckpointError, Result};
pub use finite::check_finite;
pub use free_name::next_free_name;
pub use metrics::{MetricsLog, read_metrics};
pub use model_file::{SavedModel, read_model, write_model};
pub use model_path::find_saved_model;
pub use newest_run::newest_run;
pub use plain_name::check_plain_name;
pub use retention::Retention;
pub use run_dir::RunDir;
pub use tensor_check::check_names;
pub use tensor_file::{Tensors, read_tensors, write_tensors};
