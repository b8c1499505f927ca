//! The choice among the checkpoints of a run: `--checkpoint`.

use std::path::PathBuf;

use ddpm_checkpoint::{is_checkpoint, list_checkpoints};
use ddpm_cli::usage_error;

/// A checkpoint of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CheckpointChoice {
    /// The newest one.
    Last,
    /// The one with the lowest held-out loss.
    Best,
    /// The one after this number of steps.
    Step(u64),
}

impl CheckpointChoice {
    /// Parses the value of `--checkpoint`.
    ///
    /// # Errors
    /// What is expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        match text {
            "last" => Ok(Self::Last),
            "best" => Ok(Self::Best),
            step => step.parse().map(Self::Step).map_err(|_| "expected last, best or the number of a step".to_owned()),
        }
    }

    /// The path of the checkpoint of the run at `run`; `run` itself for the newest one.
    ///
    /// # Errors
    /// When there is no such checkpoint.
    pub(crate) fn find(self, run: PathBuf) -> anyhow::Result<PathBuf> {
        let checkpoints = run.join("checkpoints");
        let entries = list_checkpoints(&checkpoints)?;
        let best = checkpoints.join("best");
        let found = match self {
            Self::Last => return Ok(run),
            Self::Best => is_checkpoint(&best).then(|| best.clone()),
            Self::Step(step) => entries.iter().find(|entry| entry.step == step).map(|entry| entry.path.clone()),
        };
        found.ok_or_else(|| {
            let mut steps: Vec<String> = entries.iter().rev().map(|entry| entry.step.to_string()).collect();
            steps.extend(is_checkpoint(&best).then(|| "best".to_owned()));
            let wanted = match self {
                Self::Step(step) => step.to_string(),
                Self::Best | Self::Last => "best".to_owned(),
            };
            let found = if steps.is_empty() { "none".to_owned() } else { steps.join(", ") };
            let run = run.display();
            usage_error(format!("--checkpoint {wanted}: expected a checkpoint of the run {run}, which has {found}"))
        })
    }
}
