//! The checkpoints of a run, by step, and the newest that can be used.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::error::{CheckpointError, IoContext, Result};

/// A checkpoint directory by its name: nothing in it has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointEntry {
    /// The step in its name.
    pub step: u64,
    /// The directory.
    pub path: PathBuf,
}

/// The directory's name for a step: `step-000500`, wider from a million on.
pub(crate) fn step_name(step: u64) -> String {
    format!("step-{step:06}")
}

/// The step of a name that [`step_name`] gives, and of no other.
pub(crate) fn parse_step(name: &str) -> Option<u64> {
    let step = name.strip_prefix("step-")?.parse().ok()?;
    (step_name(step) == name).then_some(step)
}

/// The checkpoints in a `checkpoints` directory, newest (greatest step) first. Whatever else lies there is ignored; a
/// directory that does not exist has none.
///
/// # Errors
/// [`CheckpointError::Io`] when it cannot be listed.
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

/// The first entry on which `load` succeeds. Each damaged one before it is named in a warning.
///
/// # Errors
/// That of the first entry that may be whole but cannot be read, of a newer format for one: to go on from an older one
/// would lose it. [`CheckpointError::NoValidCheckpoint`] with every reason when there are entries and all are damaged.
pub(crate) fn newest_usable<T>(
    directory: &Path,
    entries: Vec<CheckpointEntry>,
    mut load: impl FnMut(&Path) -> Result<T>,
) -> Result<Option<(CheckpointEntry, T)>> {
    let mut reasons = Vec::new();
    for entry in entries {
        match load(&entry.path) {
            Ok(loaded) => return Ok(Some((entry, loaded))),
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
    fn names_and_steps_correspond_one_to_one() {
        for step in [0, 1, 500, 999_999, 1_000_000, u64::MAX] {
            assert_eq!(parse_step(&step_name(step)), Some(step));
        }
        let strange =
            ["step-5", "step-0000500", "step-", "step-+00005", "step-00050x", "step-000500.bak", "Step-000500"];
        for name in strange {
            assert_eq!(parse_step(name), None, "{name}");
        }
        assert_eq!(parse_step("step-99999999999999999999999"), None);
    }

    #[test]
    fn order_is_numeric_and_strange_entries_are_ignored() {
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
    fn the_first_usable_wins_and_all_reasons_are_kept() {
        let entry = |step| CheckpointEntry { step, path: step_name(step).into() };
        let here = Path::new("checkpoints");
        let load = |path: &Path| match path.ends_with("step-000002") {
            true => Ok(2),
            false => Err(CheckpointError::damaged(path, "on purpose")),
        };
        let found = newest_usable(here, vec![entry(3), entry(2), entry(1)], load).expect("the second");
        assert_eq!(found, Some((entry(2), 2)));
        assert_eq!(newest_usable(here, vec![], load).expect("none"), None);
        let message = newest_usable(here, vec![entry(3), entry(1)], load).expect_err("both").to_string();
        assert!(
            message.contains("none of the 2 checkpoints") && message.contains("step-000001 is damaged"),
            "{message}"
        );
    }
}
