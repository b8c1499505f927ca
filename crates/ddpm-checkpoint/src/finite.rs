//! The check that the values of a tensor are finite.

use std::path::Path;

use crate::error::{CheckpointError, Result};

/// Checks that no value is NaN or infinite.
///
/// `values` is a part of tensor `name` in row-major order, which starts at index `first_index`. `path` is the file of
/// the tensor, for the error.
///
/// # Errors
/// [`CheckpointError::NotFinite`] with the first value that is not finite.
pub fn check_finite(values: &[f32], first_index: usize, name: &str, path: &Path) -> Result<()> {
    let Some(position) = values.iter().position(|value| !value.is_finite()) else { return Ok(()) };
    Err(CheckpointError::NotFinite {
        path: path.to_owned(),
        tensor: name.to_owned(),
        value: values[position],
        index: first_index + position,
    })
}
