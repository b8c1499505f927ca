//! The errors of a training run.

use std::path::PathBuf;

/// Why training could not start or continue.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainerError {
    /// A field of the configuration has a value outside of its range.
    #[error("{field}: expected {expected}, found {found}")]
    Config {
        /// The name of the field in the configuration file.
        field: &'static str,
        /// The valid values.
        expected: String,
        /// The value.
        found: String,
    },
    /// The parameters of the model and their EMA do not fit together.
    #[error("the model cannot be trained: {0}")]
    Model(String),
    /// The data ended or could not be read.
    #[error("the training data failed at batch {batch}: {source}")]
    Data {
        /// The position of the batch, counted from 0.
        batch: u64,
        /// The error of the data source.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The loss or the gradient was not finite for too many steps in a row.
    #[error(
        "the loss or its gradient was not finite for {skipped} steps in a row, the last at step {step}; {}; \
         lower train.learning_rate, or set train.gradient_clip_norm, and resume",
        describe_last_good(last_good.as_deref())
    )]
    Diverged {
        /// Number of steps taken.
        step: u64,
        /// Number of steps skipped in a row.
        skipped: u64,
        /// The newest valid checkpoint, if any.
        last_good: Option<PathBuf>,
    },
    /// A saved state belongs to another run.
    #[error("the saved training state does not fit this run: {0}")]
    State(String),
    /// The ranks of a job do not fit together, or have taken different steps.
    #[error("the ranks of this job do not fit together: {0}")]
    Ranks(String),
    /// A rank has ended, or does not answer.
    #[error(transparent)]
    Distributed(#[from] ddpm_distributed::DistributedError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
    /// An operation of the diffusion process failed.
    #[error(transparent)]
    Diffusion(#[from] ddpm_diffusion::DiffusionError),
    /// A checkpoint or the metrics could not be written or read.
    #[error(transparent)]
    Checkpoint(#[from] ddpm_checkpoint::CheckpointError),
    /// The caller's observer failed.
    #[error(transparent)]
    Observer(Box<dyn std::error::Error + Send + Sync>),
}

/// So that functions that return a result of candle can use `?`. An error of candle is returned as it was.
impl From<TrainerError> for candle_core::Error {
    fn from(error: TrainerError) -> Self {
        match error {
            TrainerError::Candle(error) => error,
            error => Self::wrap(error),
        }
    }
}

impl TrainerError {
    pub(crate) fn config(field: &'static str, expected: &str, found: String) -> Self {
        Self::Config { field, expected: expected.into(), found }
    }
}

fn describe_last_good(path: Option<&std::path::Path>) -> String {
    path.map_or("no checkpoint has been written yet".into(), |path| {
        format!("the last good checkpoint is {}", path.display())
    })
}
