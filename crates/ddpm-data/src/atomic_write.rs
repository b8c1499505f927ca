//! Files that are replaced in one step.

use std::io::Write;
use std::path::Path;

use crate::error::DataError;

/// Writes a temporary file in the same directory and renames it to `path`, so that a reader sees the old contents or
/// the new ones, and never a part of them. Creates the directory if necessary.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), DataError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(folder)?;
        // `File::create` gives the file the usual permissions, unlike the tempfile crate, which makes it readable for
        // its owner only. Leftover files with this prefix are removed when a run directory is opened.
        let mut name = std::ffi::OsString::from(format!(".ddpm-tmp-{}-0-", std::process::id()));
        name.push(path.file_name().unwrap_or_default());
        let temporary = path.with_file_name(name);
        let written = std::fs::File::create(&temporary).and_then(|mut file| {
            file.write_all(bytes)?;
            // Without this call, a power failure after the rename may leave an empty file.
            file.sync_all()
        });
        let renamed = written.and_then(|()| std::fs::rename(&temporary, path));
        if renamed.is_err() {
            let _ = std::fs::remove_file(&temporary);
        }
        renamed
    };
    write().map_err(DataError::io(path))
}
