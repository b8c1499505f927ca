//! From what somebody typed to a model.

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use crate::checkpoint::{MODEL_NAME, is_checkpoint, load_checkpoint_model};
use crate::checkpoint_list::{list_checkpoints, newest_usable};
use crate::error::{CheckpointError, IoContext, Result};
use crate::manifest::MANIFEST_NAME;
use crate::model_file::{SavedModel, read_model};
use crate::run_dir::RunDir;
use crate::run_layout::CHECKPOINTS_NAME;

/// Loads the model at `path`: a run directory or its `checkpoints` (the newest that is whole; damaged ones are named in
/// warnings), a checkpoint directory, a model file, or a directory of the Python library diffusers: a pipeline or its UNet. Takes
/// no lock: a run may be training meanwhile.
///
/// Of a checkpoint the model's hash is checked, and that the other files have their sizes.
///
/// # Errors
/// [`CheckpointError::NotFound`]; [`CheckpointError::NotAModel`] saying what is there instead;
/// [`CheckpointError::NoCheckpoint`] for a run that has saved nothing yet; [`CheckpointError::NoValidCheckpoint`];
/// [`CheckpointError::Damaged`]; [`CheckpointError::NewerFormat`]; [`CheckpointError::NoDescription`];
/// [`CheckpointError::Io`].
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
        newest_model(&checkpoints, path)
    } else if name_of(path) == Some(CHECKPOINTS_NAME) || !list_checkpoints(path)?.is_empty() {
        newest_model(path, path)
    } else if RunDir::is_run(path) {
        Err(CheckpointError::NoCheckpoint { path: path.to_owned() })
    } else {
        Err(CheckpointError::NotAModel { path: path.to_owned(), found: describe(path)? })
    }
}

fn newest_model(checkpoints: &Path, shown: &Path) -> Result<SavedModel> {
    let found = newest_usable(checkpoints, list_checkpoints(checkpoints)?, load_checkpoint_model)?;
    let (_, model) = found.ok_or_else(|| CheckpointError::NoCheckpoint { path: shown.to_owned() })?;
    Ok(model)
}

fn name_of(path: &Path) -> Option<&str> {
    path.file_name().and_then(OsStr::to_str)
}

/// What kind of directory it is that holds no model.
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
