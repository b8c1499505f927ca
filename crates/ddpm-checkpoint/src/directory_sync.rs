//! Making the entries of a directory durable.

use std::fs;
use std::path::Path;

use crate::error::{IoContext, Result};

/// The directory that contains `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes the entries of a directory durable, so that a file that was created or renamed in it survives a power failure.
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) naming the directory.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    // Only Unix can open a directory as a file.
    if cfg!(unix) {
        fs::File::open(directory).and_then(|opened| opened.sync_all()).on("sync directory", directory)?;
    }
    Ok(())
}
