//! Temporary files and directories, and their removal after a process was killed.
//!
//! `.ddpm-tmp-PID-N-NAME` is being written or removed; it can be deleted. `.ddpm-old-PID-N-NAME` is the previous
//! version of NAME while a new one takes its place; if NAME does not exist, the process was killed in between and the
//! previous version is restored. N is a counter.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::directory_sync::{parent_of, sync_directory};
use crate::error::{CheckpointError, IoContext, Result};

/// The prefix of a file or directory that is being written or removed.
const TEMPORARY_PREFIX: &str = ".ddpm-tmp-";
/// The prefix of a file or directory that is being replaced.
const DISPLACED_PREFIX: &str = ".ddpm-old-";

/// A free path beside `target`, for a file or directory that will be renamed to `target` or was renamed from it to be
/// removed.
///
/// # Errors
/// [`CheckpointError::UnsafeName`] if `target` has no file name, such as `..`.
pub(crate) fn temporary_path(target: &Path) -> Result<PathBuf> {
    path_beside(target, TEMPORARY_PREFIX)
}

/// A free path beside `target`, for the previous version of `target` while a new one takes its place.
///
/// # Errors
/// The errors of [`temporary_path`].
pub(crate) fn displaced_path(target: &Path) -> Result<PathBuf> {
    path_beside(target, DISPLACED_PREFIX)
}

/// Removes the file, link or directory at `path`. A link is removed and not its target. A failure is only logged,
/// because the remaining files only take up space.
pub(crate) fn remove_or_warn(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        tracing::warn!("cannot remove the temporary file {}: {error}", path.display());
    }
}

/// Removes the temporary entries of `directory` that killed processes left behind, and restores displaced ones. A
/// directory that does not exist has none.
///
/// The caller must hold the lock of the run: only then do the entries belong to no running process.
///
/// # Errors
/// [`CheckpointError::Io`] if the directory cannot be listed or an entry cannot be restored.
pub(crate) fn clear_leftovers(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.on("list", directory)?,
    };
    for entry in entries {
        let name = entry.on("list", directory)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = directory.join(name);
        if original_name(name, TEMPORARY_PREFIX).is_some() {
            tracing::debug!("removing {}, which a killed process left behind", path.display());
            remove_or_warn(&path);
        } else if let Some(original) = original_name(name, DISPLACED_PREFIX) {
            restore_displaced(&path, &directory.join(original))?;
        }
    }
    Ok(())
}

fn restore_displaced(displaced: &Path, original: &Path) -> Result<()> {
    if fs::symlink_metadata(original).is_ok() {
        remove_or_warn(displaced);
        return Ok(());
    }
    tracing::warn!("restoring {}, whose replacement was not finished", original.display());
    fs::rename(displaced, original).on("restore", original)?;
    sync_directory(parent_of(original))
}

/// A free path with the name `PREFIX PID-N-NAME` beside `target`, whose name is NAME.
fn path_beside(target: &Path, prefix: &str) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unsafe_name = || CheckpointError::UnsafeName { path: target.to_owned(), name: target.display().to_string() };
    let name = target.file_name().ok_or_else(unsafe_name)?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut full_name = OsString::from(format!("{prefix}{}-{count}-", std::process::id()));
        full_name.push(name);
        let path = target.with_file_name(full_name);
        // An earlier process with the same id may have left an entry behind.
        if fs::symlink_metadata(&path).is_err() {
            return Ok(path);
        }
    }
}

/// The NAME in `PREFIX PID-N-NAME`.
fn original_name<'a>(entry: &'a str, prefix: &str) -> Option<&'a str> {
    let (pid, rest) = entry.strip_prefix(prefix)?.split_once('-')?;
    let (count, name) = rest.split_once('-')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (is_number(pid) && is_number(count) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it exists");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_temporary_entries_are_removed() {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in [".ddpm-tmp-1-2-step-000500", ".ddpm-tmp-x", "keep", ".ddpm-tmp-1-x-y"] {
            fs::create_dir(dir.path().join(name)).expect("new");
        }
        fs::write(dir.path().join(".ddpm-tmp-9-0-config.toml"), "half").expect("write");
        fs::write(dir.path().join(".ddpm-tmp-1-2-step-000500/model.safetensors"), "half").expect("write");
        clear_leftovers(dir.path()).expect("clean");
        assert_eq!(names(dir.path()), [".ddpm-tmp-1-x-y", ".ddpm-tmp-x", "keep"]);
    }

    #[test]
    fn a_displaced_entry_is_restored_only_if_nothing_replaced_it() {
        let dir = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| dir.path().join(name);
        fs::write(at(".ddpm-old-1-0-a"), "old a").expect("write");
        fs::write(at(".ddpm-old-1-1-b"), "old b").expect("write");
        fs::write(at("b"), "new b").expect("write");
        clear_leftovers(dir.path()).expect("clean");
        assert_eq!(names(dir.path()), ["a", "b"]);
        assert_eq!(fs::read_to_string(at("a")).expect("read"), "old a");
        assert_eq!(fs::read_to_string(at("b")).expect("read"), "new b");
    }

    #[test]
    fn temporary_paths_are_recognized_and_distinct() {
        let target = Path::new("runs/a/step-000500");
        let (first, second) = (temporary_path(target).expect("a name"), temporary_path(target).expect("a name"));
        assert_ne!(first, second);
        assert_eq!(first.parent(), target.parent());
        let name = first.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert_eq!(original_name(name, TEMPORARY_PREFIX), Some("step-000500"));
        assert!(temporary_path(Path::new("..")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_removed_and_not_its_target() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (target, link) = (dir.path().join("target"), dir.path().join(".ddpm-tmp-1-0-x"));
        fs::create_dir(&target).expect("new");
        fs::write(target.join("file"), "data").expect("write");
        std::os::unix::fs::symlink(&target, &link).expect("link");
        clear_leftovers(dir.path()).expect("clean");
        assert_eq!(names(dir.path()), ["target"]);
        assert_eq!(names(&target), ["file"]);
    }
}
