//! Resolving a path to a model of any supported format.

use std::path::Path;

use ddpm_checkpoint::{SavedModel, find_saved_model, is_checkpoint};

use crate::error::Result;
use crate::pipeline_reader::{is_pipeline, read_pipeline_of_size};

/// Loads the model at `path`: everything that [`find_saved_model`] accepts (a run directory, its `checkpoints`
/// directory, a checkpoint, a model file), a pipeline of diffusers, or the directory of a UNet.
///
/// No lock is taken, so that a model can be loaded while its run is training.
///
/// # Errors The errors of [`find_saved_model`] and of [`read_pipeline`](crate::read_pipeline).
/// [`DiffusersError::is_not_found`] is true if the path does not exist.
///
/// [`DiffusersError::is_not_found`]: crate::DiffusersError::is_not_found
pub fn find_model(path: impl AsRef<Path>) -> Result<SavedModel> {
    find_model_of_size(path, None)
}

/// Loads the model at `path` as [`find_model`] does. `size` is the size of the images, \[height, width\], of a pipeline
/// that states none: its `sample_size` is null.
///
/// # Errors
/// The errors of [`find_model`].
pub fn find_model_of_size(path: impl AsRef<Path>, size: Option<[usize; 2]>) -> Result<SavedModel> {
    let path = path.as_ref();
    if path.is_dir() && !is_checkpoint(path) && is_pipeline(path) {
        return read_pipeline_of_size(path, size);
    }
    Ok(find_saved_model(path)?)
}
