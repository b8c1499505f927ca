//! Files that are replaced atomically.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::digest::{FileDigest, Hashing};
use crate::directory_sync::{parent_of, sync_directory};
use crate::error::{IoContext, Result};
use crate::temporary::{remove_or_warn, temporary_path};

/// The size of the write buffer, large enough to make the cost of a system call per byte negligible.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file so that a reader sees either the old content or all of the new one.
///
/// `body` writes to a temporary file beside `path`, which is synced (fsync) and renamed to `path`; then the directory
/// is synced. A symbolic link is followed. A device or a pipe is opened and written to. A new file has the mode that
/// the umask leaves of 0666.
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) naming `path`, also for an error of `body`. A previous file at
/// `path` is then unchanged, and the temporary file is removed.
///
/// # Examples
/// ```
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("config.toml");
/// ddpm_checkpoint::write_atomically(&path, |out| out.write_all(b"[train]\n"))?;
/// assert_eq!(std::fs::read(&path)?, b"[train]\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomically(path: &Path, body: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
    replace_file(path, |out| body(out).on("write", path))
}

/// Like [`write_atomically`], for a `body` whose errors already name the file.
pub(crate) fn replace_file(path: &Path, body: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    // A symbolic link remains: its target is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    if fs::metadata(path).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        // Renaming a file to the path of a device or a pipe would remove the device.
        let device = File::options().write(true).open(path).on("open", path)?;
        return write_hashed(device, path, body).map(drop);
    }
    let temporary = temporary_path(path)?;
    let written = write_new(&temporary, path, body).and_then(|_| fs::rename(&temporary, path).on("write", path));
    if written.is_err() {
        remove_or_warn(&temporary);
    }
    written?;
    sync_directory(parent_of(path))
}

/// Creates the file `path`, which must not exist yet, and syncs it. Errors name it `shown`.
pub(crate) fn write_new(
    path: &Path,
    shown: &Path,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<FileDigest> {
    let file = File::create_new(path).on("create", shown)?;
    let (file, digest) = write_hashed(file, shown, body)?;
    file.sync_all().on("sync", shown)?;
    Ok(digest)
}

/// Runs `body` with a buffered writer to `inner`. Returns `inner` with the digest of the bytes that it received.
fn write_hashed<W: Write>(
    inner: W,
    shown: &Path,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(W, FileDigest)> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(inner));
    if let Err(error) = body(&mut writer) {
        // Dropping the writer would write the rest of its buffer.
        drop(writer.into_parts());
        return Err(error);
    }
    let hashing = writer.into_inner().map_err(io::IntoInnerError::into_error).on("write", shown)?;
    Ok(hashing.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(directory: &Path) -> usize {
        fs::read_dir(directory).expect("it exists").count()
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_temporary_file() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("a.txt");
        write_atomically(&path, |out| out.write_all(b"first")).expect("room");
        let error = write_atomically(&path, |out| {
            out.write_all(&vec![0; 3 * BUFFER_BYTES])?;
            Err(io::Error::from(io::ErrorKind::StorageFull))
        })
        .expect_err("the body failed");
        assert!(error.to_string().contains("a.txt"), "{error}");
        assert_eq!(fs::read(&path).expect("still there"), b"first");
        assert_eq!(entries(dir.path()), 1);
    }

    #[test]
    fn a_directory_is_not_replaced_and_the_temporary_file_is_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join("config.toml");
        fs::create_dir(&path).expect("new");
        assert!(write_atomically(&path, |out| out.write_all(b"x")).is_err());
        assert_eq!(entries(dir.path()), 1);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let dir = tempfile::tempdir().expect("temp dir");
        let error = write_atomically(&dir.path().join("gone/a.txt"), |_| Ok(())).expect_err("no directory");
        assert!(error.to_string().contains("gone/a.txt"), "{error}");
    }

    /// Every write to /dev/full fails with "no space left on device".
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_even_in_the_last_flush() {
        let full = File::options().write(true).open("/dev/full").expect("it exists on Linux");
        let shown = Path::new("model.safetensors");
        let small = write_hashed(full, shown, |out| out.write_all(b"few").on("write", shown));
        let error = small.map(|_| ()).expect_err("no space");
        assert!(error.chain().starts_with("cannot write model.safetensors: No space left"), "{}", error.chain());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_are_kept() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").expect("room");
        std::os::unix::fs::symlink(&file, &link).expect("link");
        write_atomically(&link, |out| out.write_all(b"new")).expect("room");
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());
        assert_eq!(fs::read(&file).expect("still there"), b"new");
        let device = dir.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).expect("link");
        write_atomically(&device, |out| out.write_all(b"gone")).expect("/dev/null accepts every write");
        assert!(!fs::metadata(&device).expect("still there").is_file());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_need_not_be_unicode() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
        write_atomically(&path, |out| out.write_all(b"x")).expect("room");
        assert_eq!((fs::read(&path).expect("it exists"), entries(dir.path())), (b"x".to_vec(), 1));
    }

    #[cfg(unix)]
    #[test]
    fn modes_follow_the_umask() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let mode = |name: &str| fs::metadata(dir.path().join(name)).expect("it exists").permissions().mode();
        fs::write(dir.path().join("plain"), "x").expect("room");
        write_atomically(&dir.path().join("atomic"), |out| out.write_all(b"x")).expect("room");
        assert_eq!(mode("atomic"), mode("plain"));
    }
}
