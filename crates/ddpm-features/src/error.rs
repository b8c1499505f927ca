//! The error type of the crate.

use std::io;
use std::path::{Path, PathBuf};

use ddpm_checkpoint::CheckpointError;

/// The result of this crate's functions.
pub(crate) type Result<T, E = FeaturesError> = std::result::Result<T, E>;

/// The reason why weights could not be read or features could not be computed. Messages about a file name it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FeaturesError {
    /// The operating system refused an operation on a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The operation, as a verb phrase.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// The file is neither a safetensors file nor one of `torch.save`.
    #[error("{} holds no weights: expected a safetensors file or a file of torch.save, found {found}", path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// What was found at its beginning.
        found: String,
    },
    /// A file of `torch.save` is cut short, has been changed, or uses what weights do not need.
    #[error("{} cannot be read as a file of torch.save: {problem}", path.display())]
    Pth {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// A file of `torch.save` refers to a Python object that weights do not need. Nothing of the file was executed.
    #[error("{} refers to the Python object `{global}`, which is refused: only tensors are read", path.display())]
    RefusedGlobal {
        /// The file.
        path: PathBuf,
        /// Module and name of the object.
        global: String,
    },
    /// The tensors are not those of the network. The message shows the first differences.
    #[error(
        "{} the weights of another network than {network}: {}",
        path.as_ref().map_or("the tensors are".to_owned(), |path| format!("{} holds", path.display())),
        first_differences(differences)
    )]
    OtherNetwork {
        /// The file, if the tensors are out of one.
        path: Option<PathBuf>,
        /// The name of the network.
        network: &'static str,
        /// One entry for each tensor that is missing, unknown, or of another shape.
        differences: Vec<String>,
    },
    /// A safetensors file could not be read, or a value is not finite.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The images are not what a network takes.
    #[error("expected images [image, 3, height, width] of f32 with at least one pixel, found {found}")]
    Images {
        /// The shape and type found.
        found: String,
    },
    /// A setting of a network is out of its range.
    #[error("{field}: expected {expected}, found {found}")]
    Config {
        /// The name of the setting.
        field: &'static str,
        /// The values that are allowed.
        expected: String,
        /// The value found.
        found: String,
    },
    /// candle could not compute or copy a tensor.
    #[error("tensor operation")]
    Candle(#[from] candle_core::Error),
}

impl FeaturesError {
    /// An [`FeaturesError::OtherNetwork`] if there are differences.
    pub(crate) fn check_differences(network: &'static str, differences: Vec<String>) -> Result<()> {
        if differences.is_empty() { Ok(()) } else { Err(Self::OtherNetwork { path: None, network, differences }) }
    }

    /// Adds the file that the tensors came from.
    pub(crate) fn of_file(self, file: &Path) -> Self {
        match self {
            Self::OtherNetwork { network, differences, .. } => {
                Self::OtherNetwork { path: Some(file.to_owned()), network, differences }
            }
            other => other,
        }
    }
}

/// The first differences, and how many more there are.
fn first_differences(differences: &[String]) -> String {
    const MAX_SHOWN: usize = 4;
    match differences.len().checked_sub(MAX_SHOWN) {
        None | Some(0) => differences.join("; "),
        Some(more) => format!("{}; and {more} more", differences[..MAX_SHOWN].join("; ")),
    }
}

/// Adds the operation and the path to an error of the operating system.
pub(crate) trait IoContext<T> {
    /// Converts the error into [`FeaturesError::Io`].
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| FeaturesError::Io { action, path: path.to_owned(), source })
    }
}
