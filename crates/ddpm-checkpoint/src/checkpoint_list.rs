//! The checkpoints of a run, and the newest of them that can be loaded.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{CheckpointError, IoContext, Result};
use crate::step_name::{parse_step, step_name};

/// A checkpoint directory, identified by its name. Its files have not been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// The step in the name of the directory.
    pub step: u64,
    /// The directory.
    pub path: PathBuf,
}

/// Lists the checkpoints in a `checkpoints` directory, the greatest step first. Other entries are ignored. A directory
/// that does not exist has no checkpoints.
///
/// # Errors
/// [`CheckpointError::Io`] if the directory cannot be listed.
pub fn list_checkpoints(directory: impl AsRef<Path>) -> Result<Vec<CheckpointEntry>> {
    let directory = directory.as_ref();
    let listed = match fs::read_dir(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.on("list", directory)?,
    };
    let mut entries = Vec::new();
    for entry in listed {
        let path = entry.on("list", directory)?.path();
        let step = path.file_name().and_then(|name| name.to_str()).and_then(parse_step);
        if let Some(step) = step.filter(|_| path.is_dir()) {
            entries.push(CheckpointEntry { step, path });
        }
    }
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.step));
    Ok(entries)
}

/// Returns the first entry for which `load` succeeds. A warning is logged for each damaged entry before it.
///
/// # Errors
/// The error of the first entry that cannot be read but may be intact, for example because it has a newer format: using
/// an older checkpoint instead would lose it. [`CheckpointError::NoValidCheckpoint`] if all entries are damaged.
pub(crate) fn newest_usable<T>(
    directory: &Path,
    entries: Vec<CheckpointEntry>,
    mut load: impl FnMut(&Path) -> Result<T>,
) -> Result<Option<(CheckpointEntry, T)>> {
    let mut reasons = Vec::new();
    for entry in entries {
        match load(&entry.path) {
            Ok(loaded) => return Ok(Some((entry, loaded))),
            // Another process has removed it since the directory was listed.
            Err(_) if !entry.path.exists() => {}
            Err(error) if !error.is_damage() => return Err(error),
            Err(error) => {
                let reason = error.chain();
                tracing::warn!("skipping checkpoint {}: {reason}", entry.path.display());
                reasons.push(format!("{}: {reason}", step_name(entry.step)));
            }
        }
    }
    if reasons.is_empty() {
        return Ok(None);
    }
    Err(CheckpointError::NoValidCheckpoint { path: directory.to_owned(), reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_numeric_and_other_entries_are_ignored() {
        let dir = tempfile::tempdir().expect("temp dir");
        for name in ["step-000900", "step-1000000", "step-000010", "step-x", "notes", ".ddpm-tmp-1-0-step-000020"] {
            fs::create_dir(dir.path().join(name)).expect("new");
        }
        fs::write(dir.path().join("step-000950"), "a file").expect("room");
        let steps: Vec<_> = list_checkpoints(dir.path()).expect("listed").into_iter().map(|e| e.step).collect();
        assert_eq!(steps, [1_000_000, 900, 10]);
        assert!(list_checkpoints(dir.path().join("gone")).expect("none").is_empty());
    }

    #[test]
    fn the_first_usable_entry_is_returned_or_all_reasons() {
        let dir = tempfile::tempdir().expect("temp dir");
        let entry = |step| CheckpointEntry { step, path: dir.path().join(step_name(step)) };
        [1, 2, 3].iter().for_each(|step| fs::create_dir(entry(*step).path).expect("new"));
        let load = |path: &Path| match path.ends_with("step-000002") {
            true => Ok(2),
            false => Err(CheckpointError::damaged(path, "on purpose")),
        };
        let found = newest_usable(dir.path(), vec![entry(3), entry(2), entry(1)], load).expect("the second");
        assert_eq!(found, Some((entry(2), 2)));
        assert_eq!(newest_usable(dir.path(), vec![], load).expect("none"), None);
        let message = newest_usable(dir.path(), vec![entry(3), entry(1)], load).expect_err("both").to_string();
        assert!(
            message.contains("none of the 2 checkpoints") && message.contains("step-000001 is damaged"),
            "{message}"
        );
        // One that has been removed in the meantime is not damaged.
        assert_eq!(newest_usable(dir.path(), vec![entry(4)], load).expect("none"), None);
    }
}
