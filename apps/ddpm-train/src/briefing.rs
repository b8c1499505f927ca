//! What rank 0 tells the other ranks before the first step.

use anyhow::Context;
use ddpm_cli::Job;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a rank needs to take its share of a training. Weights, moments and counters follow it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Briefing {
    /// The configuration of the run as a TOML document, complete: nothing depends on the images any more.
    pub(crate) config: String,
    /// The fingerprint of the training images.
    pub(crate) images: Option<Value>,
    pub(crate) total_steps: u64,
    /// Whether a preview is sampled before the first step, which an earlier session was stopped before.
    pub(crate) draws_missing_preview: bool,
}

impl Briefing {
    /// Sends the briefing of rank 0 to all ranks. `None` tells them that nothing is left to train.
    ///
    /// # Errors
    /// When a rank does not answer.
    pub(crate) fn send(briefing: Option<&Self>, job: &Job) -> anyhow::Result<()> {
        job.communicator().broadcast(serde_json::to_vec(&briefing)?)?;
        Ok(())
    }

    /// Receives the briefing of rank 0.
    ///
    /// # Errors
    /// When rank 0 has ended or does not answer, or runs another version of the program.
    pub(crate) fn receive(job: &Job) -> anyhow::Result<Option<Self>> {
        let bytes = job.communicator().broadcast(Vec::new())?;
        serde_json::from_slice(&bytes).context("the briefing of rank 0: the ranks run different versions of ddpm-train")
    }
}
