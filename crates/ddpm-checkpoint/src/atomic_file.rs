//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::digest::{FileDigest, Hashing};
use crate::error::{IoContext, Result};
use crate::temporary::{parent_of, remove_quietly, sync_directory, work_path};

/// The write buffer: large enough that hashing and system calls work on long stretches.
const BUFFER_BYTES: usize = 1 << 20;

/// Writes a file so that a reader sees the old content or the new, never a part: into a temporary beside it, fsync,
/// rename, fsync of the directory. A link is followed, and a device or a pipe is written to as it is. The file has the mode that any new file has (0666 less the umask).
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) naming `path`, for an error of `body` too; what was at `path`
/// before is then intact and the temporary is gone.
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

/// [`write_atomically`] for a body that names files in its own errors.
pub(crate) fn replace_file(path: &Path, body: impl FnOnce(&mut dyn Write) -> Result<()>) -> Result<()> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let path = target.as_path();
    if fs::metadata(path).is_ok_and(|there| !there.is_file() && !there.is_dir()) {
        // A device or a pipe takes the bytes; a file in its place would take the device away.
        let device = File::options().write(true).open(path).on("open", path)?;
        return write_hashed(device, path, body).map(drop);
    }
    let temporary = work_path(path)?;
    let written = write_new(&temporary, path, body).and_then(|_| fs::rename(&temporary, path).on("write", path));
    if written.is_err() {
        remove_quietly(&temporary);
    }
    written?;
    sync_directory(parent_of(path))
}

/// Creates the file `path`, which must not exist, and syncs it. Errors show it as `shown`.
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

/// Runs `body` on a buffered writer over `inner` and gives the digest of what reached `inner`.
fn write_hashed<W: Write>(
    inner: W,
    shown: &Path,
    body: impl FnOnce(&mut dyn Write) -> Result<()>,
) -> Result<(W, FileDigest)> {
    let mut writer = BufWriter::with_capacity(BUFFER_BYTES, Hashing::new(inner));
    if let Err(error) = body(&mut writer) {
        // What the buffer still holds is of no use: do not let its drop write it.
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
        fs::read_dir(directory).expect("it is there").count()
    }

    #[test]
    fn a_failed_write_leaves_the_old_content_and_no_temporary() {
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
    fn a_target_that_is_a_directory_is_refused_and_the_temporary_removed() {
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

    /// /dev/full takes nothing: every write fails with "no space left on device".
    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_an_error_even_when_only_the_last_flush_meets_it() {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let shown = Path::new("model.safetensors");
        let small = write_hashed(full, shown, |out| out.write_all(b"few").on("write", shown));
        let error = small.map(|_| ()).expect_err("no space");
        assert!(error.chain().starts_with("cannot write model.safetensors: No space left"), "{}", error.chain());
    }

    #[cfg(unix)]
    #[test]
    fn links_and_devices_stay_what_they_are() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "old").expect("room");
        std::os::unix::fs::symlink(&file, &link).expect("link");
        write_atomically(&link, |out| out.write_all(b"new")).expect("room");
        assert!(fs::symlink_metadata(&link).expect("still there").is_symlink());
        assert_eq!(fs::read(&file).expect("still there"), b"new");
        let device = dir.path().join("device");
        std::os::unix::fs::symlink("/dev/null", &device).expect("link");
        write_atomically(&device, |out| out.write_all(b"gone")).expect("it takes everything");
        assert!(!fs::metadata(&device).expect("still there").is_file());
    }

    #[cfg(unix)]
    #[test]
    fn a_name_need_not_be_text() {
        use std::os::unix::ffi::OsStrExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let path = dir.path().join(std::ffi::OsStr::from_bytes(b"\xff"));
        write_atomically(&path, |out| out.write_all(b"x")).expect("room");
        assert_eq!((fs::read(&path).expect("it is there"), entries(dir.path())), (b"x".to_vec(), 1));
    }

    #[cfg(unix)]
    #[test]
    fn modes_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("temp dir");
        let mode = |name: &str| fs::metadata(dir.path().join(name)).expect("it is there").permissions().mode();
        fs::write(dir.path().join("plain"), "x").expect("room");
        write_atomically(&dir.path().join("atomic"), |out| out.write_all(b"x")).expect("room");
        assert_eq!(mode("atomic"), mode("plain"));
    }
}
