//! Resolving a path to a saved model.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::checkpoint::{MODEL_NAME, is_checkpoint, load_checkpoint_model};
use crate::checkpoint_list::{list_checkpoints, newest_usable};
use crate::error::{CheckpointError, IoContext, Result};
use crate::manifest::MANIFEST_NAME;
use crate::model_file::read_model;
use crate::run_dir::RunDir;
use crate::run_layout::CHECKPOINTS_NAME;
use crate::saved_model::SavedModel;

/// Loads the model at `path`: a run directory or its `checkpoints` directory, a checkpoint directory, or a model file.
///
/// For a run, the newest valid checkpoint is loaded, and a warning is logged for each newer one that is damaged. For a
/// checkpoint, the hash of the model file and the sizes of the other files are checked. No lock is taken, so that a
/// model can be loaded while its run is training.
///
/// # Errors
/// [`CheckpointError::NotFound`]; [`CheckpointError::NotAModel`] describing what exists at the path;
/// [`CheckpointError::NoCheckpoint`] for a run that has not saved a checkpoint yet;
/// [`CheckpointError::NoValidCheckpoint`]; [`CheckpointError::Damaged`]; [`CheckpointError::NewerFormat`];
/// [`CheckpointError::NoDescription`]; [`CheckpointError::Io`].
pub fn find_saved_model(path: impl AsRef<Path>) -> Result<SavedModel> {
    let path = path.as_ref();
    if !path.exists() {
        return Err(CheckpointError::NotFound { path: path.to_owned() });
    }
    if !path.is_dir() {
        return read_model(path);
    }
    let checkpoints = path.join(CHECKPOINTS_NAME);
    if is_checkpoint(path) {
        load_checkpoint_model(path)
    } else if checkpoints.is_dir() {
        load_newest(&checkpoints, path)
    } else if path.file_name().and_then(OsStr::to_str) == Some(CHECKPOINTS_NAME) || !list_checkpoints(path)?.is_empty()
    {
        load_newest(path, path)
    } else if RunDir::is_run(path) {
        Err(CheckpointError::NoCheckpoint { path: path.to_owned() })
    } else {
        Err(CheckpointError::NotAModel { path: path.to_owned(), found: describe(path)? })
    }
}

/// Loads the model of the newest valid checkpoint in a directory. If there are no checkpoints, the error names `shown`.
fn load_newest(checkpoints: &Path, shown: &Path) -> Result<SavedModel> {
    let found = newest_usable(checkpoints, list_checkpoints(checkpoints)?, load_checkpoint_model)?;
    let (_, model) = found.ok_or_else(|| CheckpointError::NoCheckpoint { path: shown.to_owned() })?;
    Ok(model)
}

/// Describes a directory that is not a model.
fn describe(directory: &Path) -> Result<String> {
    if directory.join(MODEL_NAME).exists() {
        return Ok(format!("a directory with {MODEL_NAME} but without {MANIFEST_NAME}"));
    }
    let mut entries = fs::read_dir(directory).on("list", directory)?;
    let is_run = |entry: std::io::Result<fs::DirEntry>| entry.is_ok_and(|entry| RunDir::is_run(entry.path()));
    Ok(match fs::read_dir(directory).on("list", directory)?.count() {
        0 => "an empty directory".to_owned(),
        _ if entries.any(is_run) => "a directory of runs".to_owned(),
        count => format!("a directory with {count} entries, none of them a checkpoint"),
    })
}
