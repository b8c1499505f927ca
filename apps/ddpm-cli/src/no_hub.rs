//! Models that are named on the command line, in a program that was built without the feature `hub`.

use std::path::{Path, PathBuf};

use crate::Progress;

/// The path of the model that was typed as `what`: as it is.
///
/// # Errors
/// Never.
pub fn model_path(_what: &str, given: &Path, _: &Progress) -> anyhow::Result<PathBuf> {
    Ok(given.to_owned())
}
