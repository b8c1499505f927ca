//! The run that a command line specifies, before its configuration is known.

use std::path::{Path, PathBuf};

use ddpm_cli::usage_error;
use toml::Table;

use crate::args::Args;
use crate::config_document::read_document;
use crate::run_paths::{RUNS, newest_run_named, run_of_checkpoint};

/// The run that a command line specifies.
#[derive(Debug)]
pub(crate) enum RunRequest {
    /// Continue the run in the directory `run` from `checkpoint`, or from its newest checkpoint.
    Continue { run: PathBuf, checkpoint: Option<PathBuf> },
    /// Create a run in the directory `run`. It starts from `checkpoint`, which belongs to another run, or from the
    /// beginning.
    Create { run: PathBuf, checkpoint: Option<PathBuf> },
    /// Continue the newest run `runs/NAME-N` if `may_continue` is set, it has the same configuration and it is not
    /// finished. Otherwise create the next one.
    Named { name: String, may_continue: bool },
}

impl RunRequest {
    /// Checks that the run directory is not inside the folder of training images: a run there would later train on its
    /// own preview images.
    pub(crate) fn check_outside_data(&self, data: &Path) -> anyhow::Result<()> {
        let directory = match self {
            Self::Continue { run, .. } | Self::Create { run, .. } => run,
            Self::Named { .. } => Path::new(RUNS),
        };
        // A directory that does not exist yet will be created in its first existing ancestor.
        let absolute = std::path::absolute(directory)?;
        let existing = absolute.ancestors().find_map(|path| path.canonicalize().ok());
        let is_inside = |data: PathBuf| existing.is_some_and(|existing| existing.starts_with(data));
        if data.is_dir() && data.canonicalize().is_ok_and(is_inside) {
            return Err(usage_error(format!(
                "--out: expected a folder apart from the images of {}, found {} in it",
                data.display(),
                directory.display()
            )));
        }
        Ok(())
    }

    /// The configuration that is saved in the run to be continued. `None` for a new run, and if `args` specify the
    /// whole configuration.
    ///
    /// # Errors
    /// When the run has no `config.toml` and `args` name no configuration: the default one is not the one that the
    /// checkpoint was trained with.
    pub(crate) fn saved_config(&self, args: &Args) -> anyhow::Result<Option<Table>> {
        let (run, source) = match self {
            Self::Continue { run, .. } => (Some(run.clone()), run),
            Self::Create { checkpoint: Some(checkpoint), .. } => (run_of_checkpoint(checkpoint), checkpoint),
            _ => return Ok(None),
        };
        let path = run.map(|run| run.join("config.toml"));
        match path.filter(|path| path.is_file()) {
            Some(path) => read_document(&path).map(Some),
            None if args.preset.is_some() || args.config.is_some() => Ok(None),
            None => Err(usage_error(format!(
                "{}: expected the run's config.toml with it, found none; give the configuration with \
                 --preset or --config",
                source.display()
            ))),
        }
    }

    /// The `data.path` that is saved in the run that may be continued, if there is such a run.
    pub(crate) fn saved_data_path(&self) -> anyhow::Result<Option<String>> {
        let run = match self {
            Self::Continue { run, .. } => Some(run.clone()),
            Self::Named { name, may_continue: true } => newest_run_named(name)?,
            Self::Create { .. } | Self::Named { .. } => None,
        };
        let Some(path) = run.map(|run| run.join("config.toml")).filter(|path| path.is_file()) else { return Ok(None) };
        let document = read_document(&path)?;
        Ok(document.get("data").and_then(|data| data.get("path")?.as_str()).map(str::to_owned))
    }
}
