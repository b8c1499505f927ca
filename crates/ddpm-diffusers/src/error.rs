//! The error type of the crate.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use ddpm_checkpoint::CheckpointError;

/// The result of this crate's functions.
pub(crate) type Result<T, E = DiffusersError> = std::result::Result<T, E>;

/// The reason why a pipeline could not be read or written. Every message names the file.
///
/// A message does not repeat that of its source. Print the chain (`{:#}` with anyhow) to see both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusersError {
    /// A tensor file, a checkpoint or a model description could not be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The operating system refused an operation on a file, for example for lack of permission or space.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file is not in the format that its name promises.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// A JSON document is larger than this library reads.
    #[error("{}: the document takes {bytes} bytes, more than the {limit} allowed", path.display())]
    TooLarge {
        /// The document.
        path: PathBuf,
        /// The number of bytes that were read before the library gave up.
        bytes: u64,
        /// The largest number of bytes that is read.
        limit: u64,
    },
    /// A field of a configuration is missing, has an invalid value, or has a value that is not supported.
    #[error("{}: field `{field}`: {problem}", path.display())]
    Field {
        /// The configuration file.
        path: PathBuf,
        /// The name of the field, as diffusers writes it.
        field: Cow<'static, str>,
        /// What was expected and what was found.
        problem: String,
    },
    /// A file that the pipeline's index names does not exist.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The missing file.
        path: PathBuf,
    },
    /// The directory of a UNet holds no weights in a supported format.
    #[error(
        "{}: expected weights as diffusion_pytorch_model.safetensors, .bin or an index of their shards, found {found}",
        path.display()
    )]
    NoWeights {
        /// The directory of the UNet.
        path: PathBuf,
        /// What the directory holds instead.
        found: String,
    },
}

/// So that functions that return a result of candle can use `?`.
impl From<DiffusersError> for candle_core::Error {
    fn from(error: DiffusersError) -> Self {
        Self::wrap(error)
    }
}

impl DiffusersError {
    /// Whether the path of the model, or a file that the model consists of, does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Checkpoint(CheckpointError::NotFound { .. }))
    }

    /// A [`DiffusersError::Damaged`].
    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }

    /// A [`DiffusersError::Field`].
    pub(crate) fn field(path: &Path, field: impl Into<Cow<'static, str>>, problem: impl Into<String>) -> Self {
        Self::Field { path: path.to_owned(), field: field.into(), problem: problem.into() }
    }
}

/// Adds the operation and the path to an error of the operating system.
pub(crate) trait IoContext<T> {
    /// Converts the error into [`DiffusersError::Io`].
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| DiffusersError::Io { action, path: path.to_owned(), source })
    }
}
