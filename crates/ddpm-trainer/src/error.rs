//! What can stop a training run.

use std::path::PathBuf;

/// Why training could not start or go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// A field of the configuration has a value that no run can have.
    #[error("{field}: expected {expected}, found {found}")]
    Config {
        /// The field, in the names of the configuration.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The data ended or could not be read.
    #[error("the training data failed at batch {batch}: {source}")]
    Data {
        /// Batches taken before.
        batch: u64,
        /// What the data said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The loss or the gradient was not finite for too many steps in a row.
    #[error(
        "the loss or its gradient was not finite for {skipped} steps in a row, the last at step {step}; {}; \
         lower train.learning_rate, or set train.gradient_clip_norm, and resume",
        last_good.as_ref().map_or("no checkpoint was written yet".into(), |p| format!("the last good checkpoint is {}", p.display()))
    )]
    Diverged {
        /// Steps completed.
        step: u64,
        /// Steps skipped in a row.
        skipped: u64,
        /// The newest checkpoint, untouched.
        last_good: Option<PathBuf>,
    },
    /// A saved state is not one of this run.
    #[error("the saved training state does not fit this run: {0}")]
    State(String),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// The diffusion process failed.
    #[error(transparent)]
    Diffusion(#[from] ddpm_diffusion::DiffusionError),
    /// A checkpoint or a metric could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] ddpm_checkpoint::CheckpointError),
    /// The caller's observer failed.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
}

impl TrainerError {
    pub(crate) fn config(field: &'static str, expected: &str, found: String) -> Self {
        Self::Config { field, expected: expected.into(), found }
    }
}
