//! Resolving a path to a model of any supported format.

use std::path::Path;

use ddpm_checkpoint::{SavedModel, find_saved_model, is_checkpoint};

use crate::error::Result;
use crate::pipeline_reader::{is_pipeline, read_pipeline};

/// Loads the model at `path`: everything that [`find_saved_model`] accepts (a run directory, its `checkpoints`
/// directory, a checkpoint, a model file), a pipeline of diffusers, or the directory of a UNet.
///
/// No lock is taken, so that a model can be loaded while its run is training.
///
/// # Errors
/// The errors of [`find_saved_model`] and of [`read_pipeline`]. [`DiffusersError::is_not_found`] is true if the path
/// does not exist.
///
/// [`DiffusersError::is_not_found`]: crate::DiffusersError::is_not_found
pub fn find_model(path: impl AsRef<Path>) -> Result<SavedModel> {
    let path = path.as_ref();
    if path.is_dir() && !is_checkpoint(path) && is_pipeline(path) {
        return read_pipeline(path);
    }
    Ok(find_saved_model(path)?)
}
