//! A run's directory: where everything of one training lies, for one process at a time.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::atomic_dir::remove_directory;
use crate::atomic_file::write_atomically;
use crate::checkpoint::{Checkpoint, verify_checkpoint};
use crate::checkpoint_list::{CheckpointEntry, list_checkpoints, newest_usable, step_name};
use crate::error::{CheckpointError, IoContext, Result};
use crate::free_name::next_free_name;
use crate::lock::Lock;
use crate::metrics::MetricsLog;
use crate::retention::Retention;
use crate::run_layout::{CHECKPOINTS_NAME, CONFIG_NAME, LOCK_NAME, METRICS_NAME, SAMPLES_NAME};
use crate::temporary::{clear_leftovers, parent_of, sync_directory};

/// A run directory that this process holds. Dropping it lets others in; so does any end of the process.
///
/// # Examples
/// ```
/// use ddpm_checkpoint::{CheckpointError, RunDir};
///
/// let root = tempfile::tempdir()?;
/// let run = RunDir::create(root.path().join("digits"))?;
/// run.save_config("[train]\nsteps = 10\n")?;
/// assert!(matches!(RunDir::open(run.path()), Err(CheckpointError::Locked { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    /// The step of the newest checkpoint that this process has saved: it needs no second look.
    saved_step: Option<u64>,
    _lock: Lock,
}

impl RunDir {
    /// Whether a run has begun in that directory: it has its configuration or a checkpoint.
    pub fn is_run(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        path.join(CONFIG_NAME).is_file()
            || list_checkpoints(path.join(CHECKPOINTS_NAME)).is_ok_and(|entries| !entries.is_empty())
    }

    /// Makes the directory, with its parents, and takes it. What other files are in it stays.
    ///
    /// # Errors
    /// [`CheckpointError::AlreadyARun`] when a run has begun there; [`CheckpointError::Locked`];
    /// [`CheckpointError::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let refuse_run = || match Self::is_run(path) {
            true => Err(CheckpointError::AlreadyARun { path: path.to_owned() }),
            false => Ok(()),
        };
        refuse_run()?;
        fs::create_dir_all(path).on("create directory", path)?;
        let run = Self::take(path)?;
        // Another process may have begun one, and even ended, in between.
        refuse_run()?;
        sync_directory(parent_of(path))?;
        Ok(run)
    }

    /// Makes and takes `stem`, or else `stem-2`, `stem-3`, … in the directory `root`: the first that is free. Processes
    /// that do this at once get different ones.
    ///
    /// # Errors
    /// As [`RunDir::create`]; [`CheckpointError::UnsafeName`] when `stem` is no plain name.
    pub fn create_next(root: impl AsRef<Path>, stem: &str) -> Result<Self> {
        let root = root.as_ref();
        fs::create_dir_all(root).on("create directory", root)?;
        loop {
            let path = root.join(next_free_name(root, stem)?);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                made => {
                    made.on("create directory", &path)?;
                    return Self::create(&path);
                }
            }
        }
    }

    /// Takes a run that has begun, to go on with it. What killed processes left half-done is cleared away.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::NotARun`]; [`CheckpointError::Locked`];
    /// [`CheckpointError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.exists() {
            return Err(CheckpointError::NotFound { path: path.to_owned() });
        }
        // A checkpoint that a killed process was replacing may be the only sign of a run: look after clearing, too.
        if !Self::is_run(path) && !path.join(CHECKPOINTS_NAME).is_dir() {
            return Err(CheckpointError::NotARun { path: path.to_owned() });
        }
        let run = Self::take(path)?;
        if Self::is_run(path) { Ok(run) } else { Err(CheckpointError::NotARun { path: path.to_owned() }) }
    }

    /// The run's directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where images of samples go; it exists.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join(SAMPLES_NAME)
    }

    /// The directory of the checkpoints; it exists.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS_NAME)
    }

    /// The resolved configuration.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG_NAME)
    }

    /// The metrics file.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS_NAME)
    }

    /// Saves the resolved configuration, whole or not at all: before the first step.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save_config(&self, toml: &str) -> Result<()> {
        write_atomically(&self.config_path(), |out| out.write_all(toml.as_bytes()))
    }

    /// The configuration that the run was begun with.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn read_config(&self) -> Result<String> {
        let path = self.config_path();
        fs::read_to_string(&path).on("read", &path)
    }

    /// The metrics, to be continued after `step` (0 for a new run).
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn metrics(&self, step: u64) -> Result<MetricsLog> {
        MetricsLog::resume(self.metrics_path(), step)
    }

    /// Saves a checkpoint, and gives its directory.
    ///
    /// # Errors
    /// As [`Checkpoint::save`]; the checkpoints from before are then intact.
    pub fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let saved = checkpoint.save(&self.checkpoints_path())?;
        self.saved_step = Some(checkpoint.step);
        Ok(saved)
    }

    /// The run's checkpoints by name, newest first. Nothing in them is read.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn checkpoints(&self) -> Result<Vec<CheckpointEntry>> {
        list_checkpoints(self.checkpoints_path())
    }

    /// The newest checkpoint whose every hash holds; each damaged one before it is named in a warning. None when there
    /// are no checkpoints.
    ///
    /// # Errors
    /// [`CheckpointError::NoValidCheckpoint`] when there are some and all are damaged; [`CheckpointError::Io`].
    pub fn latest_valid(&self) -> Result<Option<CheckpointEntry>> {
        Self::latest_valid_in(&self.path)
    }

    /// [`RunDir::latest_valid`] of the run at `path`, without taking it: it may be training meanwhile, or not be ours to
    /// write to.
    ///
    /// # Errors
    /// As [`RunDir::latest_valid`].
    pub fn latest_valid_in(path: impl AsRef<Path>) -> Result<Option<CheckpointEntry>> {
        let checkpoints = path.as_ref().join(CHECKPOINTS_NAME);
        let found = newest_usable(&checkpoints, list_checkpoints(&checkpoints)?, |path| verify_checkpoint(path))?;
        Ok(found.map(|(entry, ())| entry))
    }

    /// Loads the newest valid checkpoint, as [`RunDir::latest_valid`] finds it, in one pass.
    ///
    /// # Errors
    /// As [`RunDir::latest_valid`].
    pub fn load_latest(&self) -> Result<Option<Checkpoint>> {
        let found = newest_usable(&self.checkpoints_path(), self.checkpoints()?, |path| Checkpoint::load(path))?;
        Ok(found.map(|(_, checkpoint)| checkpoint))
    }

    /// Removes the checkpoints that are not to be kept, and gives their steps. Whatever `retention` says, the newest
    /// valid one stays, and so does the one that this process saved last (after a return to an earlier step it is not
    /// the one with the greatest number). A process killed meanwhile leaves no part of a checkpoint under its name.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::NoValidCheckpoint`] when something is to go and nothing valid would
    /// stay: then nothing goes.
    pub fn prune(&mut self, retention: &Retention) -> Result<Vec<u64>> {
        let steps: Vec<u64> = self.checkpoints()?.iter().map(|entry| entry.step).collect();
        let mut expired = retention.expired(&steps);
        if expired.is_empty() {
            return Ok(expired);
        }
        let newest_valid = match self.saved_step {
            Some(saved) if steps.first() == Some(&saved) => Some(saved),
            _ => self.latest_valid()?.map(|entry| entry.step),
        };
        expired.retain(|step| Some(*step) != newest_valid && Some(*step) != self.saved_step);
        self.remove(&expired)?;
        Ok(expired)
    }

    /// Removes the checkpoints of steps after `step`, and gives their steps: for a run that goes back to `step` on
    /// purpose and from there another way. Those that are damaged are kept as `step-NNNNNN.damaged`: somebody may want to
    /// save what can be saved.
    ///
    /// # Errors
    /// [`CheckpointError::NewerFormat`] and [`CheckpointError::Io`] for one that may be whole but cannot be read: then
    /// nothing goes.
    pub fn discard_checkpoints_after(&mut self, step: u64) -> Result<Vec<u64>> {
        let entries = self.checkpoints()?;
        let later: Vec<u64> = entries.iter().map(|entry| entry.step).filter(|&found| found > step).collect();
        let mut whole = Vec::new();
        for &step in &later {
            match verify_checkpoint(self.checkpoints_path().join(step_name(step))) {
                Ok(()) => whole.push(step),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        self.remove(&whole)?;
        later.iter().filter(|step| !whole.contains(step)).try_for_each(|&step| self.set_aside(step))?;
        self.saved_step = self.saved_step.filter(|&saved| saved <= step);
        Ok(later)
    }

    fn remove(&self, steps: &[u64]) -> Result<()> {
        steps.iter().try_for_each(|&step| remove_directory(&self.checkpoints_path().join(step_name(step))))
    }

    /// Gives a damaged checkpoint a name that no checkpoint has.
    fn set_aside(&self, step: u64) -> Result<()> {
        let path = self.checkpoints_path().join(step_name(step));
        let free = |n: u32| match n {
            1 => path.with_extension("damaged"),
            n => path.with_extension(format!("damaged-{n}")),
        };
        let aside = (1..).map(free).find(|aside| fs::symlink_metadata(aside).is_err());
        let aside = aside.unwrap_or_else(|| path.with_extension("damaged"));
        tracing::warn!("the damaged {} is kept as {}", path.display(), aside.display());
        fs::rename(&path, &aside).on("rename", &path)?;
        sync_directory(&self.checkpoints_path())
    }

    /// Locks an existing directory, clears it of leftovers and makes its parts.
    fn take(path: &Path) -> Result<Self> {
        let lock = Lock::acquire(&path.join(LOCK_NAME))?;
        for part in [path.to_owned(), path.join(CHECKPOINTS_NAME), path.join(SAMPLES_NAME)] {
            clear_leftovers(&part)?;
            fs::create_dir_all(&part).on("create directory", &part)?;
        }
        Ok(Self { path: path.to_owned(), saved_step: None, _lock: lock })
    }
}
