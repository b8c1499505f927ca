//! Files that are written in place must not be something else: a link to another file, a pipe or a device.

use std::fs::{self, Metadata};
use std::io;
use std::path::Path;

use crate::error::{IoContext, Result};

/// Checks that `path` is a regular file, or does not exist. Returns its metadata.
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) for a symbolic link, a pipe, a device or a directory.
pub(crate) fn check_regular(path: &Path) -> Result<Option<Metadata>> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found.on("open", path)?,
    };
    let found = match metadata.file_type() {
        kind if kind.is_file() => return Ok(Some(metadata)),
        kind if kind.is_symlink() => "a link to another file",
        kind if kind.is_dir() => "a directory",
        _ => "a pipe, a socket or a device",
    };
    let problem = format!("expected a regular file, found {found}");
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem)).on("open", path)
}

/// Whether the file has other names (hard links), as in a copy of its directory by `cp -l`.
pub(crate) fn has_other_names(metadata: &Metadata) -> bool {
    #[cfg(unix)]
    {
        std::os::unix::fs::MetadataExt::nlink(metadata) > 1
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        false
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn links_and_devices_are_refused() {
        let dir = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| dir.path().join(name);
        assert!(check_regular(&at("new")).expect("it may be created").is_none());
        fs::write(at("file"), "x").expect("room");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("room");
        let metadata = check_regular(&at("file")).expect("regular").expect("it exists");
        assert!(!has_other_names(&metadata));
        for (path, found) in
            [(at("link"), "a link"), (dir.path().into(), "a directory"), ("/dev/null".into(), "device")]
        {
            let error = check_regular(&path).expect_err("refused").chain();
            assert!(error.contains("expected a regular file, found") && error.contains(found), "{error}");
        }
        fs::hard_link(at("file"), at("second")).expect("room");
        assert!(has_other_names(&fs::symlink_metadata(at("file")).expect("it exists")));
    }
}
