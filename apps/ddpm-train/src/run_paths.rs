//! Paths of runs and of their checkpoints.

use std::path::{Path, PathBuf};

use ddpm_checkpoint::next_free_name;

/// The directory of all runs whose directory is not chosen with `--out`.
pub(crate) const RUNS: &str = "runs";

/// Whether both paths exist and refer to the same file or directory.
pub(crate) fn is_same_path(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}

/// The run that contains the checkpoint `RUN/checkpoints/step-N`.
pub(crate) fn run_of_checkpoint(checkpoint: &Path) -> Option<PathBuf> {
    run_of_checkpoints(checkpoint.canonicalize().ok()?.parent()?)
}

/// The run that contains the directory `RUN/checkpoints`.
pub(crate) fn run_of_checkpoints(checkpoints: &Path) -> Option<PathBuf> {
    let checkpoints = checkpoints.canonicalize().ok()?;
    let run = checkpoints.parent().filter(|_| checkpoints.file_name().is_some_and(|name| name == "checkpoints"))?;
    // Messages show the path relative to the working directory, as a user would type it.
    let here = std::env::current_dir().and_then(|here| here.canonicalize()).ok();
    Some(match here.and_then(|here| run.strip_prefix(here).ok()) {
        Some(relative) if relative == Path::new("") => PathBuf::from("."),
        Some(relative) => relative.to_path_buf(),
        None => run.to_path_buf(),
    })
}

/// The newest of the directories `runs/NAME`, `runs/NAME-2`, `runs/NAME-3`, …, if there is one.
pub(crate) fn newest_run_named(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let runs = Path::new(RUNS);
    let free = next_free_name(runs, name)?;
    let newest = match free.strip_prefix(name).and_then(|rest| rest.strip_prefix('-')).map(str::parse::<u64>) {
        Some(Ok(2)) => name.to_string(),
        Some(Ok(next)) => format!("{name}-{}", next - 1),
        _ => return Ok(None),
    };
    Ok(Some(runs.join(newest)))
}
