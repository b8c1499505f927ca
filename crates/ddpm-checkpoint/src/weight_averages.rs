//! The power-function averages that a run stores for post-hoc EMA: a directory for each step, a file for each length.

use std::path::{Path, PathBuf};

use crate::atomic_dir::AtomicDir;
use crate::checkpoint_list::list_checkpoints;
use crate::directory_sync::parent_of;
use crate::error::{IoContext, Result};
use crate::manifest::Manifest;
use crate::run_layout::AVERAGES_NAME;
use crate::step_name::step_name;
use crate::tensor_file::{Tensors, read_stream, write_stream};

/// A power-function average of the weights.
#[derive(Debug, Clone)]
pub struct WeightAverage {
    /// Its length: the standard deviation of the contributing steps relative to the number of steps.
    pub sigma_rel: f64,
    /// The averaged weights, by the names of the parameters.
    pub tensors: Tensors,
}

/// A power-function average that a run has stored.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredAverage {
    /// The number of steps that it covers.
    pub step: u64,
    /// Its length: see [`WeightAverage::sigma_rel`].
    pub sigma_rel: f64,
    directory: PathBuf,
    name: String,
}

impl StoredAverage {
    /// Reads the weights, by the names of the parameters, and checks their hash.
    ///
    /// # Errors
    /// [`Damaged`](crate::CheckpointError::Damaged) naming the file; [`Io`](crate::CheckpointError::Io).
    pub fn load(&self) -> Result<Tensors> {
        let manifest = Manifest::read(&self.directory)?;
        Ok(manifest.read_file(&self.directory, &self.name, read_stream)?.1)
    }
}

/// Lists the power-function averages of the run at `run`, in the order of their steps, without reading their weights.
///
/// # Errors
/// [`Damaged`](crate::CheckpointError::Damaged) when a file is missing; [`Io`](crate::CheckpointError::Io).
pub fn list_weight_averages(run: impl AsRef<Path>) -> Result<Vec<StoredAverage>> {
    let mut stored = Vec::new();
    for entry in list_checkpoints(run.as_ref().join(AVERAGES_NAME))?.into_iter().rev() {
        for name in Manifest::read(&entry.path)?.names() {
            if let Some(sigma_rel) = parse_name(name) {
                let (directory, name) = (entry.path.clone(), name.to_owned());
                stored.push(StoredAverage { step: entry.step, sigma_rel, directory, name });
            }
        }
    }
    Ok(stored)
}

/// Stores the averages after `step` steps in the directory `parent`.
pub(crate) fn save_averages(parent: &Path, step: u64, averages: &[WeightAverage]) -> Result<PathBuf> {
    std::fs::create_dir_all(parent).on("create directory", parent)?;
    crate::directory_sync::sync_directory(parent_of(parent))?;
    let target = parent.join(step_name(step));
    let mut directory = AtomicDir::begin(&target)?;
    for WeightAverage { sigma_rel, tensors } in averages {
        directory.write(&file_name(*sigma_rel), |out, path| write_stream(out, None, tensors, path))?;
    }
    directory.commit()?;
    Ok(target)
}

fn file_name(sigma_rel: f64) -> String {
    format!("sigma-{sigma_rel}.safetensors")
}

fn parse_name(name: &str) -> Option<f64> {
    name.strip_prefix("sigma-")?.strip_suffix(".safetensors")?.parse().ok()
}
