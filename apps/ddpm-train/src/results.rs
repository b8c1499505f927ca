//! The results of a run that are made from its newest checkpoint: previews, loss curve and pipeline. A record of what
//! they were made from shows whether an earlier session was stopped before they were complete.

use std::path::Path;

use anyhow::Context;
use ddpm_checkpoint::{RunDir, sha256_of_files, write_atomically};
use serde::{Deserialize, Serialize};

/// The record in a run directory, written when all results are complete.
const RESULTS: &str = "results.json";
/// The record in the pipeline of a run, written after its other files.
const PIPELINE: &str = "pipeline/results.json";

/// The checkpoint that results were made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ResultsOrigin {
    step: u64,
    /// The SHA-256 of the checkpoint's model.safetensors.
    model_sha256: String,
}

impl ResultsOrigin {
    /// The newest checkpoint of a run; `None` if it has none.
    fn newest(run: &Path) -> anyhow::Result<Option<Self>> {
        let Some(newest) = RunDir::latest_valid_in(run)? else { return Ok(None) };
        let model_sha256 = sha256_of_files(&[newest.path.join("model.safetensors")])?;
        Ok(Some(Self { step: newest.step, model_sha256 }))
    }

    fn read(path: &Path) -> Option<Self> {
        serde_json::from_str(&std::fs::read_to_string(path).ok()?).ok()
    }

    fn write(&self, path: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(self).context("the record of the results")?;
        Ok(write_atomically(path, |out| writeln!(out, "{text}"))?)
    }
}

/// Whether the results of the run were all made from its newest checkpoint.
pub(crate) fn results_are_complete(run: &Path, has_pipeline: bool) -> anyhow::Result<bool> {
    let recorded = ResultsOrigin::read(&run.join(RESULTS));
    // The checkpoint is hashed only if there is a record to compare with.
    Ok(recorded.is_some() && recorded == ResultsOrigin::newest(run)? && (!has_pipeline || pipeline_is_complete(run)?))
}

/// Whether the pipeline of the run was made from its newest checkpoint.
fn pipeline_is_complete(run: &Path) -> anyhow::Result<bool> {
    let recorded = ResultsOrigin::read(&run.join(PIPELINE));
    Ok(recorded.is_some() && recorded == ResultsOrigin::newest(run)?)
}

/// Records that the pipeline was made from the newest checkpoint.
pub(crate) fn record_pipeline(run: &Path) -> anyhow::Result<()> {
    ResultsOrigin::newest(run)?.map_or(Ok(()), |origin| origin.write(&run.join(PIPELINE)))
}

/// Removes the record of a pipeline that is about to be replaced.
pub(crate) fn forget_pipeline(run: &Path) -> anyhow::Result<()> {
    let path = run.join(PIPELINE);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Records that all results were made from the newest checkpoint.
pub(crate) fn record_results(run: &Path) -> anyhow::Result<()> {
    ResultsOrigin::newest(run)?.map_or(Ok(()), |origin| origin.write(&run.join(RESULTS)))
}
