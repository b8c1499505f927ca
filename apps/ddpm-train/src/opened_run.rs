//! Chooses, opens and locks the run directory of a request.

use std::path::{Path, PathBuf};

use ddpm_checkpoint::{CheckpointError, RunDir};
use ddpm_cli::usage_error;

use crate::config_comparison::differing_keys;
use crate::origin::Origin;
use crate::previews::grid_path;
use crate::results::results_are_complete;
use crate::run_config::RunConfig;
use crate::run_paths::{RUNS, newest_run_named};
use crate::run_request::RunRequest;

/// A run directory that this process has locked.
#[derive(Debug)]
pub(crate) struct OpenedRun {
    pub(crate) run: RunDir,
    pub(crate) progress: RunProgress,
}

/// The state in which earlier sessions left the run.
#[derive(Debug)]
pub(crate) enum RunProgress {
    /// This session creates the run. `checkpoint` belongs to another run.
    New { checkpoint: Option<PathBuf> },
    /// An earlier session was stopped before it had saved a checkpoint. `origin` is what it had recorded.
    WithoutCheckpoint { origin: Option<Origin> },
    /// The run has checkpoints. `checkpoint` is the one that the command line names, if it names one.
    WithCheckpoint { checkpoint: Option<PathBuf> },
}

impl OpenedRun {
    /// Opens or creates the run directory for a run of `total_steps` steps.
    ///
    /// # Errors
    /// When another process holds the run, or it was started with another configuration.
    pub(crate) fn open(request: RunRequest, config: &RunConfig, total_steps: u64) -> anyhow::Result<Self> {
        match request {
            RunRequest::Continue { run, checkpoint } => {
                let run = RunDir::open(&run)?;
                check_same_config(&run, config)?;
                match checkpoint {
                    Some(_) => Ok(Self { run, progress: RunProgress::WithCheckpoint { checkpoint } }),
                    None => Self::continued(run),
                }
            }
            RunRequest::Create { run, checkpoint } => match RunDir::create(run) {
                Err(error @ CheckpointError::AlreadyARun { .. }) => Err(usage_error(error)),
                created => Ok(Self { run: created?, progress: RunProgress::New { checkpoint } }),
            },
            RunRequest::Named { name, may_continue: false } => Self::create_next(&name),
            RunRequest::Named { name, may_continue: true } => match unfinished_run(&name, config, total_steps)? {
                Some(run) => Self::continued(run),
                None => {
                    let created = Self::create_next(&name)?;
                    explain_new_name(&name, &created.run);
                    Ok(created)
                }
            },
        }
    }

    fn continued(run: RunDir) -> anyhow::Result<Self> {
        let progress = match run.checkpoints()?.is_empty() {
            true => RunProgress::WithoutCheckpoint { origin: Origin::read(run.path()) },
            false => RunProgress::WithCheckpoint { checkpoint: None },
        };
        Ok(Self { run, progress })
    }

    fn create_next(name: &str) -> anyhow::Result<Self> {
        let run = RunDir::create_next(RUNS, name)?;
        Ok(Self { run, progress: RunProgress::New { checkpoint: None } })
    }
}

/// Logs why the run `runs/NAME` was not continued, if a new run was created instead.
fn explain_new_name(name: &str, run: &RunDir) {
    let taken = Path::new(RUNS).join(name);
    if run.path() != taken {
        let (taken, run) = (taken.display(), run.path().display());
        tracing::info!("{taken} is finished, in use or has another configuration: {run} is a new run");
    }
}

fn check_same_config(run: &RunDir, config: &RunConfig) -> anyhow::Result<()> {
    let differing = differing_keys(run, config)?;
    if differing.is_empty() {
        return Ok(());
    }
    Err(usage_error(format!(
        "{} was started with another configuration; give another --out, or set back {}",
        run.path().display(),
        differing.join(", ")
    )))
}

/// Whether a directory holds no more than that of a run whose session was killed before it wrote the configuration.
fn is_new(path: &Path) -> bool {
    let is_empty = |directory: &Path| std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    let is_expected = |entry: &std::fs::DirEntry| match entry.file_name().to_str() {
        Some("checkpoints" | "samples") => is_empty(&entry.path()),
        Some(name) => name == ".lock" || name.starts_with(".ddpm-tmp-"),
        None => false,
    };
    std::fs::read_dir(path).is_ok_and(|mut entries| entries.all(|entry| entry.is_ok_and(|entry| is_expected(&entry))))
}

/// The newest run `runs/NAME-N` if no other process holds it, it has the same configuration and it is not finished.
fn unfinished_run(name: &str, config: &RunConfig, total_steps: u64) -> anyhow::Result<Option<RunDir>> {
    let Some(path) = newest_run_named(name)? else { return Ok(None) };
    let opened = if RunDir::is_run(&path) {
        RunDir::open(&path)
    } else if is_new(&path) {
        RunDir::create(&path)
    } else {
        return Ok(None);
    };
    let run = match opened {
        Err(CheckpointError::Locked { .. }) => return Ok(None),
        opened => opened?,
    };
    let step = run.latest_valid()?.map_or(0, |entry| entry.step);
    // A run that was killed before its configuration was written has nothing that another one could contradict.
    let is_empty = !run.config_path().is_file() && run.checkpoints()?.is_empty();
    let same_config = is_empty || run.config_path().is_file() && differing_keys(&run, config)?.is_empty();
    // The run may have been stopped between its last step and its results.
    let has_preview = config.sample.preview_images == 0 || grid_path(&run.samples_path(), total_steps).exists();
    let is_complete = has_preview && results_are_complete(run.path(), config.has_pipeline())?;
    let unfinished = step < total_steps || (step == total_steps && !is_complete);
    Ok((same_config && unfinished).then_some(run))
}
