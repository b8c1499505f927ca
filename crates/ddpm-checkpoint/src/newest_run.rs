//! The newest run of a directory of runs.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::checkpoint_list::list_checkpoints;
use crate::error::{IoContext, Result};
use crate::manifest::MANIFEST_NAME;
use crate::run_layout::CHECKPOINTS_NAME;

/// Returns the run in `root` that saved a checkpoint last, by the modification times of the manifests. Of several runs
/// with the same time, the last by name is returned. `None` if no run has a checkpoint or `root` does not exist.
///
/// # Errors
/// [`CheckpointError::Io`](crate::CheckpointError::Io) if `root` cannot be listed.
pub fn newest_run(root: impl AsRef<Path>) -> Result<Option<PathBuf>> {
    let root = root.as_ref();
    let listed = match fs::read_dir(root) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        listed => listed.on("list", root)?,
    };
    let mut newest: Option<(SystemTime, PathBuf)> = None;
    for entry in listed {
        let run = entry.on("list", root)?.path();
        // A directory without checkpoints, or one that cannot be read, is not a run.
        if let Some(saved) = last_saved(&run) {
            newest = newest.max(Some((saved, run)));
        }
    }
    Ok(newest.map(|(_, run)| run))
}

/// The time at which the last checkpoint of a run was completed.
fn last_saved(run: &Path) -> Option<SystemTime> {
    let entries = list_checkpoints(run.join(CHECKPOINTS_NAME)).ok()?;
    let saved = |path: &Path| fs::metadata(path.join(MANIFEST_NAME)).and_then(|found| found.modified()).ok();
    entries.iter().filter_map(|entry| saved(&entry.path)).max()
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::Duration;

    use super::*;

    fn saved(run: &Path, step: &str, seconds: u64) {
        let checkpoint = run.join("checkpoints").join(step);
        fs::create_dir_all(&checkpoint).expect("new");
        let manifest = File::create(checkpoint.join(MANIFEST_NAME)).expect("room");
        manifest.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("allowed");
    }

    #[test]
    fn the_newest_run_is_the_one_that_saved_last() {
        let root = tempfile::tempdir().expect("temp dir");
        let at = |name: &str| root.path().join(name);
        assert_eq!(newest_run(at("gone")).expect("none"), None);
        fs::create_dir_all(at("empty/checkpoints")).expect("new");
        fs::write(at("file"), "x").expect("room");
        assert_eq!(newest_run(root.path()).expect("listed"), None);
        saved(&at("a"), "step-000001", 100);
        saved(&at("b"), "step-000009", 50);
        saved(&at("b"), "step-000002", 200);
        saved(&at("c"), "no-step", 900);
        assert_eq!(newest_run(root.path()).expect("listed"), Some(at("b")));
        saved(&at("a2"), "step-000001", 200);
        assert_eq!(newest_run(root.path()).expect("listed"), Some(at("b")));
    }
}
