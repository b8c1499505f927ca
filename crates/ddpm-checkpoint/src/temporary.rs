//! Names of work in progress, and what to do with those that a killed process left behind.
//!
//! `.ddpm-tmp-PID-N-NAME` is something half-written or half-removed: it may go. `.ddpm-old-PID-N-NAME` is what NAME was
//! while something new took its place: if there is no NAME, the process died in between and the old one comes back.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{CheckpointError, IoContext, Result};

const WORK: &str = ".ddpm-tmp-";
const DISPLACED: &str = ".ddpm-old-";

/// A path beside `target` for something that is not `target` yet, or no longer.
///
/// # Errors
/// [`CheckpointError::UnsafeName`] when `target` has no name of its own.
pub(crate) fn work_path(target: &Path) -> Result<PathBuf> {
    beside(target, WORK)
}

/// A path beside `target` for what `target` was until now.
///
/// # Errors
/// As [`work_path`].
pub(crate) fn displaced_path(target: &Path) -> Result<PathBuf> {
    beside(target, DISPLACED)
}

/// The directory that holds `path`.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Makes the names in a directory durable: what was created or renamed there survives a power cut.
///
/// # Errors
/// [`CheckpointError::Io`] naming the directory.
pub(crate) fn sync_directory(directory: &Path) -> Result<()> {
    // Other systems do not open directories as files.
    if cfg!(unix) {
        fs::File::open(directory).and_then(|opened| opened.sync_all()).on("sync directory", directory)?;
    }
    Ok(())
}

/// Removes whatever is at `path`, a link and not what it points to. A failure is logged: it does no harm but to space.
pub(crate) fn remove_quietly(path: &Path) {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => return,
    };
    if let Err(error) = removed {
        tracing::warn!("cannot remove the temporary {}: {error}", path.display());
    }
}

/// Clears `directory` of what killed processes left there. Only for the holder of the run's lock: nothing of a living
/// process is there then. A directory that does not exist is clean.
///
/// # Errors
/// [`CheckpointError::Io`] when the directory cannot be read or an old entry cannot be put back.
pub(crate) fn clear_leftovers(directory: &Path) -> Result<()> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.on("list", directory)?,
    };
    for entry in entries {
        let name = entry.on("list", directory)?.file_name();
        let Some(name) = name.to_str() else { continue };
        let path = directory.join(name);
        if parse(name, WORK).is_some() {
            tracing::debug!("removing {}, left by a process that was stopped", path.display());
            remove_quietly(&path);
        } else if let Some(original) = parse(name, DISPLACED) {
            put_back(&path, &directory.join(original))?;
        }
    }
    Ok(())
}

fn put_back(displaced: &Path, original: &Path) -> Result<()> {
    if fs::symlink_metadata(original).is_ok() {
        remove_quietly(displaced);
        return Ok(());
    }
    tracing::warn!("putting back {}, whose replacement was never finished", original.display());
    fs::rename(displaced, original).on("put back", original)?;
    sync_directory(parent_of(original))
}

fn beside(target: &Path, prefix: &str) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let unsafe_name = || CheckpointError::UnsafeName { path: target.to_owned(), name: target.display().to_string() };
    let name = target.file_name().ok_or_else(unsafe_name)?;
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let mut work = OsString::from(format!("{prefix}{}-{count}-", std::process::id()));
        work.push(name);
        let path = target.with_file_name(work);
        // A process number comes round again: do not trip over what its last owner left.
        if fs::symlink_metadata(&path).is_err() {
            return Ok(path);
        }
    }
}

/// The NAME in `PREFIX PID-N-NAME`.
fn parse<'a>(entry: &'a str, prefix: &str) -> Option<&'a str> {
    let (pid, rest) = entry.strip_prefix(prefix)?.split_once('-')?;
    let (count, name) = rest.split_once('-')?;
    let number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    (number(pid) && number(count) && !name.is_empty()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("it is there");
        let mut names: Vec<_> =
            entries.map(|e| e.expect("readable").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    #[test]
    fn only_our_own_leftovers_go() {
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
    fn a_displaced_entry_comes_back_only_when_nothing_took_its_place() {
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
    fn temporaries_are_recognised_and_distinct() {
        let target = Path::new("runs/a/step-000500");
        let (first, second) = (work_path(target).expect("a name"), work_path(target).expect("a name"));
        assert_ne!(first, second);
        assert_eq!(first.parent(), target.parent());
        let name = first.file_name().and_then(|name| name.to_str()).expect("UTF-8");
        assert_eq!(parse(name, WORK), Some("step-000500"));
        assert!(work_path(Path::new("..")).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_removed_and_not_what_it_points_to() {
        let dir = tempfile::tempdir().expect("temp dir");
        let (precious, link) = (dir.path().join("precious"), dir.path().join(".ddpm-tmp-1-0-x"));
        fs::create_dir(&precious).expect("new");
        fs::write(precious.join("file"), "data").expect("write");
        std::os::unix::fs::symlink(&precious, &link).expect("link");
        clear_leftovers(dir.path()).expect("clean");
        assert_eq!(names(dir.path()), ["precious"]);
        assert_eq!(names(&precious), ["file"]);
    }
}
