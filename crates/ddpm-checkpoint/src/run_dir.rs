//! The directory of a training run, which one process at a time can hold.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::atomic_dir::{AtomicDir, remove_directory};
use crate::atomic_file::write_atomically;
use crate::checkpoint::{Checkpoint, checkpoint_step, verify_checkpoint};
use crate::checkpoint_list::{CheckpointEntry, list_checkpoints, newest_usable};
use crate::directory_sync::{parent_of, sync_directory};
use crate::error::{CheckpointError, IoContext, Result};
use crate::free_name::next_free_name;
use crate::lock::Lock;
use crate::manifest::Manifest;
use crate::metrics_log::MetricsLog;
use crate::retention::Retention;
use crate::run_layout::{
    AVERAGES_NAME, BEST_NAME, CHECKPOINTS_NAME, CONFIG_NAME, LOCK_NAME, METRICS_NAME, SAMPLES_NAME,
};
use crate::step_name::step_name;
use crate::temporary::clear_leftovers;
use crate::weight_averages::{WeightAverage, save_averages};

/// A run directory that this process holds. Dropping the value, or the end of the process, releases it.
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
    /// The step of the checkpoint that this process saved last, which does not need to be verified.
    saved_step: Option<u64>,
    _lock: Lock,
}

impl RunDir {
    /// Whether the directory holds a run: a configuration or a checkpoint.
    pub fn is_run(path: impl AsRef<Path>) -> bool {
        let path = path.as_ref();
        path.join(CONFIG_NAME).is_file()
            || list_checkpoints(path.join(CHECKPOINTS_NAME)).is_ok_and(|entries| !entries.is_empty())
    }

    /// Creates the directory and its parents, and holds it. Other files in the directory are kept.
    ///
    /// # Errors
    /// [`CheckpointError::AlreadyARun`] if the directory holds a run; [`CheckpointError::Locked`];
    /// [`CheckpointError::Io`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let check_no_run = || match Self::is_run(path) {
            true => Err(CheckpointError::AlreadyARun { path: path.to_owned() }),
            false => Ok(()),
        };
        check_no_run()?;
        fs::create_dir_all(path).on("create directory", path)?;
        let run = Self::hold(path)?;
        // Another process may have created a run before the lock was acquired.
        check_no_run()?;
        sync_directory(parent_of(path))?;
        Ok(run)
    }

    /// Creates and holds the first of `stem`, `stem-2`, `stem-3`, … in the directory `root` that does not exist.
    /// Processes that call this at the same time get different directories.
    ///
    /// # Errors
    /// The errors of [`RunDir::create`]; [`CheckpointError::UnsafeName`] if `stem` is not a plain file name.
    pub fn create_next(root: impl AsRef<Path>, stem: &str) -> Result<Self> {
        let root = root.as_ref();
        fs::create_dir_all(root).on("create directory", root)?;
        loop {
            let path = root.join(next_free_name(root, stem)?);
            match fs::create_dir(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                created => {
                    created.on("create directory", &path)?;
                    return Self::create(&path);
                }
            }
        }
    }

    /// Holds an existing run, to continue it. Temporary files that killed processes left behind are removed.
    ///
    /// # Errors
    /// [`CheckpointError::NotFound`]; [`CheckpointError::NotARun`]; [`CheckpointError::Locked`];
    /// [`CheckpointError::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        if !path.exists() {
            return Err(CheckpointError::NotFound { path: path.to_owned() });
        }
        // The only checkpoint may have been displaced by a killed process. It is restored before the second check.
        if !Self::is_run(path) && !path.join(CHECKPOINTS_NAME).is_dir() {
            return Err(CheckpointError::NotARun { path: path.to_owned() });
        }
        let run = Self::hold(path)?;
        if Self::is_run(path) { Ok(run) } else { Err(CheckpointError::NotARun { path: path.to_owned() }) }
    }

    /// The directory of the run.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory of the sampled images, which exists.
    pub fn samples_path(&self) -> PathBuf {
        self.path.join(SAMPLES_NAME)
    }

    /// The directory of the checkpoints, which exists.
    pub fn checkpoints_path(&self) -> PathBuf {
        self.path.join(CHECKPOINTS_NAME)
    }

    /// The file of the resolved configuration.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG_NAME)
    }

    /// The file of the metrics.
    pub fn metrics_path(&self) -> PathBuf {
        self.path.join(METRICS_NAME)
    }

    /// Writes the resolved configuration atomically.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn save_config(&self, toml: &str) -> Result<()> {
        write_atomically(&self.config_path(), |out| out.write_all(toml.as_bytes()))
    }

    /// Reads the configuration.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn read_config(&self) -> Result<String> {
        let path = self.config_path();
        fs::read_to_string(&path).on("read", &path)
    }

    /// Opens the metrics to continue them after `step`, which is 0 for a new run.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn metrics(&self, step: u64) -> Result<MetricsLog> {
        MetricsLog::resume(self.metrics_path(), step)
    }

    /// Saves a checkpoint and returns its directory.
    ///
    /// # Errors
    /// The errors of [`Checkpoint::save`]. Existing checkpoints are then unchanged.
    pub fn save_checkpoint(&mut self, checkpoint: &Checkpoint) -> Result<PathBuf> {
        let saved = checkpoint.save(&self.checkpoints_path())?;
        self.saved_step = Some(checkpoint.step);
        Ok(saved)
    }

    /// Keeps the checkpoint of `step` under the name `best`, also when the checkpoint itself is removed. It replaces
    /// the one that was kept before.
    ///
    /// # Errors
    /// The errors of reading the checkpoint's manifest; [`CheckpointError::Io`].
    pub fn keep_as_best(&self, step: u64) -> Result<()> {
        let checkpoint = self.checkpoints_path().join(step_name(step));
        let manifest = Manifest::read(&checkpoint)?;
        let mut best = AtomicDir::begin(&self.best_path())?;
        manifest.files().try_for_each(|(name, digest)| best.link(name, &checkpoint, digest))?;
        best.commit()
    }

    /// The step of the checkpoint that is kept as `best`; `None` if there is none that can be read.
    pub fn best_step(&self) -> Option<u64> {
        checkpoint_step(&self.best_path()).ok()
    }

    fn best_path(&self) -> PathBuf {
        self.checkpoints_path().join(BEST_NAME)
    }

    /// Stores power-function averages of the weights after `step` steps, and returns their directory.
    ///
    /// # Errors
    /// [`CheckpointError::WrongType`], [`CheckpointError::NotFinite`], [`CheckpointError::Io`].
    pub fn save_averages(&self, step: u64, averages: &[WeightAverage]) -> Result<PathBuf> {
        save_averages(&self.path.join(AVERAGES_NAME), step, averages)
    }

    /// Removes the stored averages of later steps than `step`, for a run that returns to `step`.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn discard_averages_after(&self, step: u64) -> Result<()> {
        let stored = list_checkpoints(self.path.join(AVERAGES_NAME))?;
        stored.iter().filter(|entry| entry.step > step).try_for_each(|entry| remove_directory(&entry.path))
    }

    /// Lists the checkpoints, newest first, without reading their files.
    ///
    /// # Errors
    /// [`CheckpointError::Io`].
    pub fn checkpoints(&self) -> Result<Vec<CheckpointEntry>> {
        list_checkpoints(self.checkpoints_path())
    }

    /// Returns the newest checkpoint of which every hash matches. A warning is logged for each damaged one before it.
    /// `None` if there are no checkpoints.
    ///
    /// # Errors
    /// [`CheckpointError::NoValidCheckpoint`] if all checkpoints are damaged; [`CheckpointError::NewerFormat`] and
    /// [`CheckpointError::Io`] for a checkpoint that cannot be read but may be intact.
    pub fn latest_valid(&self) -> Result<Option<CheckpointEntry>> {
        Self::latest_valid_in(&self.path)
    }

    /// Like [`RunDir::latest_valid`], for the run at `path`, without holding it: it may be training, or be read-only.
    ///
    /// # Errors
    /// The errors of [`RunDir::latest_valid`].
    pub fn latest_valid_in(path: impl AsRef<Path>) -> Result<Option<CheckpointEntry>> {
        let checkpoints = path.as_ref().join(CHECKPOINTS_NAME);
        let found = newest_usable(&checkpoints, list_checkpoints(&checkpoints)?, |path| verify_checkpoint(path))?;
        Ok(found.map(|(entry, ())| entry))
    }

    /// Loads the checkpoint that [`RunDir::latest_valid`] returns, reading its files once.
    ///
    /// # Errors
    /// The errors of [`RunDir::latest_valid`].
    pub fn load_latest(&self) -> Result<Option<Checkpoint>> {
        let found = newest_usable(&self.checkpoints_path(), self.checkpoints()?, |path| Checkpoint::load(path))?;
        Ok(found.map(|(_, checkpoint)| checkpoint))
    }

    /// Removes the checkpoints that `retention` does not keep, and returns their steps.
    ///
    /// The newest valid checkpoint is always kept, and so is the one that this process saved last, which does not have
    /// the greatest step if the run returned to an earlier step. If the process is killed, no incomplete checkpoint
    /// keeps its name.
    ///
    /// # Errors
    /// [`CheckpointError::Io`]; [`CheckpointError::NoValidCheckpoint`] if no valid checkpoint would remain: then none
    /// is removed.
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

    /// Removes the checkpoints of later steps than `step`, and returns their steps, for a run that returns to `step`.
    ///
    /// Checkpoints that cannot be loaded are renamed to `step-NNNNNN.damaged` instead, so that data can still be
    /// recovered from them.
    ///
    /// # Errors
    /// [`CheckpointError::NewerFormat`] and [`CheckpointError::Io`] for a checkpoint that cannot be read but may be
    /// intact: then none is removed.
    pub fn discard_checkpoints_after(&mut self, step: u64) -> Result<Vec<u64>> {
        let entries = self.checkpoints()?;
        let later: Vec<u64> = entries.iter().map(|entry| entry.step).filter(|&found| found > step).collect();
        let mut valid = Vec::new();
        for &step in &later {
            // Hashes may match although the contents cannot be loaded: a field of another program, a NaN, another name.
            match Checkpoint::load(self.checkpoints_path().join(step_name(step))) {
                Ok(_) => valid.push(step),
                Err(error) if error.is_damage() => {}
                Err(error) => return Err(error),
            }
        }
        self.remove(&valid)?;
        later.iter().filter(|step| !valid.contains(step)).try_for_each(|&step| self.set_aside(step))?;
        self.saved_step = self.saved_step.filter(|&saved| saved <= step);
        if self.best_step().is_some_and(|best| best > step) {
            remove_directory(&self.best_path())?;
        }
        Ok(later)
    }

    fn remove(&self, steps: &[u64]) -> Result<()> {
        steps.iter().try_for_each(|&step| remove_directory(&self.checkpoints_path().join(step_name(step))))
    }

    /// Renames a damaged checkpoint, so that it no longer has the name of a checkpoint.
    fn set_aside(&self, step: u64) -> Result<()> {
        let path = self.checkpoints_path().join(step_name(step));
        let numbered = |n: u32| match n {
            1 => path.with_extension("damaged"),
            n => path.with_extension(format!("damaged-{n}")),
        };
        let free = (1..).map(numbered).find(|name| fs::symlink_metadata(name).is_err());
        let free = free.unwrap_or_else(|| path.with_extension("damaged"));
        tracing::warn!("the damaged checkpoint {} is kept as {}", path.display(), free.display());
        fs::rename(&path, &free).on("rename", &path)?;
        sync_directory(&self.checkpoints_path())
    }

    /// Locks an existing directory, removes temporary files and creates the subdirectories.
    fn hold(path: &Path) -> Result<Self> {
        let lock = Lock::acquire(&path.join(LOCK_NAME))?;
        for part in [path.to_owned(), path.join(CHECKPOINTS_NAME), path.join(SAMPLES_NAME)] {
            clear_leftovers(&part)?;
            fs::create_dir_all(&part).on("create directory", &part)?;
        }
        clear_leftovers(&path.join(AVERAGES_NAME))?;
        Ok(Self { path: path.to_owned(), saved_step: None, _lock: lock })
    }
}
