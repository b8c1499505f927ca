//! The origin of a run: the checkpoint of another run, or the trained model, that its weights come from.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_checkpoint::{RunDir, write_atomically};

use crate::run_paths::is_same_path;

/// The source of the weights of a run, unless they are initial weights drawn from the seed.
///
/// A new run writes its origin into its directory. A run that is stopped before it has saved a checkpoint can then
/// start from the same origin again.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A checkpoint of another run: weights, moments and counters.
    Checkpoint(PathBuf),
    /// A trained model: weights only.
    Model(PathBuf),
}

impl Origin {
    /// The file of the run directory that holds the path of a checkpoint.
    const CHECKPOINT_FILE: &str = "began-from";
    /// The file of the run directory that holds the path of a model.
    const MODEL_FILE: &str = "initialised-from";

    fn file_name(&self) -> &'static str {
        match self {
            Self::Checkpoint(_) => Self::CHECKPOINT_FILE,
            Self::Model(_) => Self::MODEL_FILE,
        }
    }

    fn path(&self) -> &Path {
        let (Self::Checkpoint(path) | Self::Model(path)) = self;
        path
    }

    /// Reads the origin that is recorded in the run directory `run`, if there is one.
    pub(crate) fn read(run: &Path) -> Option<Self> {
        let read = |name| {
            let mut bytes = std::fs::read(run.join(name)).ok()?;
            bytes.pop_if(|last| *last == b'\n');
            String::from_utf8(bytes).ok().map(PathBuf::from)
        };
        read(Self::CHECKPOINT_FILE).map(Self::Checkpoint).or_else(|| read(Self::MODEL_FILE).map(Self::Model))
    }

    /// Records the origin of a new run. `None` means a run that starts with initial weights.
    ///
    /// Files that an earlier run in the same directory left behind are removed: that run was stopped before it had
    /// started.
    pub(crate) fn record(origin: Option<&Self>, run: &RunDir) -> anyhow::Result<()> {
        let name = origin.map(Self::file_name);
        for stale in [Self::CHECKPOINT_FILE, Self::MODEL_FILE].into_iter().filter(|stale| Some(*stale) != name) {
            let path = run.path().join(stale);
            match std::fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot remove {}", path.display()));
                }
                _ => {}
            }
        }
        let Some(origin) = origin else { return Ok(()) };
        let path = origin.path();
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        write_atomically(&run.path().join(origin.file_name()), |out| {
            out.write_all(path.as_os_str().as_encoded_bytes())?;
            out.write_all(b"\n")
        })?;
        Ok(())
    }
}

/// Whether the recorded origin of `run` is the model at `path`.
pub(crate) fn originates_from_model(run: &Path, path: &Path) -> bool {
    matches!(Origin::read(run), Some(Origin::Model(origin)) if is_same_path(&origin, path))
}

/// Whether the recorded origin of `run` is the checkpoint at `path`, or a checkpoint of the run at `path`.
pub(crate) fn originates_from_checkpoint(run: &Path, path: &Path) -> bool {
    let Some(Origin::Checkpoint(origin)) = Origin::read(run) else { return false };
    path.canonicalize().is_ok_and(|path| origin.starts_with(path))
}
