//! Chooses, opens and locks the run directory of a request.

use std::path::{Path, PathBuf};

use ddpm_checkpoint::{CheckpointError, RunDir, read_state};
use ddpm_cli::usage_error;
use ddpm_data::DataFingerprint;

use crate::config_changes::{ConfigChange, KeyEffect, config_changes};
use crate::origin::Origin;
use crate::previews::grid_path;
use crate::results::results_are_complete;
use crate::run_config::RunConfig;
use crate::run_paths::{RUNS, newest_run_named};
use crate::run_request::RunRequest;
use crate::training_data::fingerprint_of;

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
    /// Opens or creates the run directory for a run of `total_steps` steps on the images `data`.
    ///
    /// # Errors
    /// When another process holds the run, or a key is changed that the steps taken so far depend on.
    pub(crate) fn open(
        request: RunRequest,
        config: &RunConfig,
        total_steps: u64,
        data: Option<&DataFingerprint>,
    ) -> anyhow::Result<Self> {
        match request {
            RunRequest::Continue { run, checkpoint } => {
                let run = RunDir::open(&run)?;
                check_same_past(&run, config)?;
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
            RunRequest::Named { name, may_continue: true } => match newest_run(&name, config, total_steps, data)? {
                NewestRun::Unfinished(run) => Self::continued(run),
                NewestRun::None => Self::create_next(&name),
                NewestRun::NotContinued { run, reason } => {
                    let created = Self::create_next(&name)?;
                    tracing::info!("{} {reason}: {} is a new run", run.display(), created.run.path().display());
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

/// Refuses to change what the steps taken so far depend on.
fn check_same_past(run: &RunDir, config: &RunConfig) -> anyhow::Result<()> {
    let changes = config_changes(run, config)?;
    let changes: Vec<&ConfigChange> = changes.iter().filter(|change| change.effect() == KeyEffect::Past).collect();
    if changes.is_empty() {
        return Ok(());
    }
    let run = run.path().display();
    let same_network = changes.iter().all(|change| !change.key.starts_with("model."));
    let weights = if same_network { format!(", and --init {run} starts it from these weights") } else { String::new() };
    Err(usage_error(format!(
        "{run} has taken steps with other values of {}; leave them out to continue it, or give another --out for a new \
         run{weights}",
        list(&changes)
    )))
}

fn list(changes: &[&ConfigChange]) -> String {
    changes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
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

/// The newest run `runs/NAME-N`, and whether the present command continues it.
enum NewestRun {
    None,
    Unfinished(RunDir),
    NotContinued { run: PathBuf, reason: String },
}

/// Finds the newest run `runs/NAME-N`. It is continued if no other process holds it, it is not finished, and the
/// session changes neither its images nor a key that the result depends on: such a change needs `--out` or `--resume`.
fn newest_run(
    name: &str,
    config: &RunConfig,
    total_steps: u64,
    data: Option<&DataFingerprint>,
) -> anyhow::Result<NewestRun> {
    let Some(path) = newest_run_named(name)? else { return Ok(NewestRun::None) };
    let not_continued = |reason: String| Ok(NewestRun::NotContinued { run: path.clone(), reason });
    let opened = if RunDir::is_run(&path) {
        RunDir::open(&path)
    } else if is_new(&path) {
        RunDir::create(&path)
    } else {
        return not_continued("is no run".into());
    };
    let run = match opened {
        Err(CheckpointError::Locked { .. }) => return not_continued("is in use by another process".into()),
        opened => opened?,
    };
    let newest = run.latest_valid()?;
    if !run.config_path().is_file() {
        // A run that was killed before its configuration was written has nothing that another one could contradict.
        return match newest {
            None => Ok(NewestRun::Unfinished(run)),
            Some(_) => not_continued("has no config.toml".into()),
        };
    }
    let step = newest.as_ref().map_or(0, |entry| entry.step);
    let changes = config_changes(&run, config)?;
    let relevant: Vec<&ConfigChange> = changes.iter().filter(|change| change.effect() != KeyEffect::None).collect();
    if !relevant.is_empty() {
        return not_continued(format!("has another configuration, {}", list(&relevant)));
    }
    // Other images at the same path are reported when the state is restored. At another path they are another data set.
    if let Some(moved) = changes.iter().find(|change| change.key == "data.path") {
        let state = newest.as_ref().map(|entry| read_state(&entry.path)).transpose()?;
        if state.as_ref().and_then(fingerprint_of).as_ref() != data {
            return not_continued(format!("has other images, {moved}"));
        }
    }
    // The run may have been stopped between its last step and its results.
    let has_preview = config.sample.preview_images == 0 || grid_path(&run.samples_path(), total_steps).exists();
    let is_complete = has_preview && results_are_complete(run.path(), config.has_pipeline())?;
    if step < total_steps || (step == total_steps && !is_complete) {
        return Ok(NewestRun::Unfinished(run));
    }
    not_continued(format!("is finished at step {step}"))
}
