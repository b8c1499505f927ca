//! The error type of the crate.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub(crate) type Result<T, E = CheckpointError> = std::result::Result<T, E>;

/// The reason why a run directory, a checkpoint or a model file could not be read or written. Every message names the
/// file.
///
/// A message does not repeat that of its source. Print the chain (`{:#}` with anyhow) to see both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
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
    /// Another process, or another part of this one, holds the run.
    #[error(
        "{} is in use by {}: wait for it to end, or choose another directory",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The id of the process that holds the lock, if it has already written it to the file.
        holder: Option<u32>,
    },
    /// The bytes of a file differ from those that were written, or are not in the expected format.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was expected and what was found.
        problem: String,
    },
    /// The file was written by a newer version of this library.
    #[error("{} has format version {found}; this program reads up to {supported}: use a newer one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version that this library reads.
        supported: u32,
    },
    /// A tensor contains NaN or an infinity.
    #[error("{}: tensor `{tensor}` holds a value that is not finite ({value} at index {index})", path.display())]
    NotFinite {
        /// The file that is read or written.
        path: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// The first value that is not finite.
        value: f32,
        /// The index of the value in row-major order.
        index: usize,
    },
    /// A tensor has an element type that is not supported.
    #[error("{}: tensor `{tensor}` is of type {found}, expected {expected}", path.display())]
    WrongType {
        /// The file that is read or written.
        path: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// The supported types.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// The tensors of a file are not those of the network. The message shows the first differences.
    #[error("{} does not fit the network: {}", path.display(), first_differences(differences))]
    WrongTensors {
        /// The file.
        path: PathBuf,
        /// One entry for each tensor that is missing, not expected, or of another shape.
        differences: Vec<String>,
    },
    /// A file holds weights but does not describe their network.
    #[error("{} holds tensors but no description of their network (no `ddpm` metadata)", path.display())]
    NoDescription {
        /// The file.
        path: PathBuf,
    },
    /// A field is missing or has an invalid value.
    #[error("{}: field `{field}`: {problem}", path.display())]
    WrongField {
        /// The file that is read or written.
        path: PathBuf,
        /// The name of the field.
        field: Cow<'static, str>,
        /// What was expected and what was found.
        problem: String,
    },
    /// A part of a file is larger than this library reads or writes.
    #[error("{}: {what} takes {bytes} bytes, more than the {limit} allowed", path.display())]
    TooLarge {
        /// The file that is read or written.
        path: PathBuf,
        /// The part that is too large.
        what: &'static str,
        /// The size of the part.
        bytes: u64,
        /// The largest size allowed.
        limit: u64,
    },
    /// A name cannot be the name of a file, or would refer to a file outside of the directory.
    #[error("{}: `{name}` is no plain file name", path.display())]
    UnsafeName {
        /// The file or directory in which the name occurs.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// Nothing exists at the path.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// A new run was to be created in a directory that already holds a run.
    #[error("{} already holds a run: resume it, or choose another directory", path.display())]
    AlreadyARun {
        /// The directory.
        path: PathBuf,
    },
    /// A run was to be opened in a directory that does not hold one.
    #[error("{} is not a run directory: expected config.toml or checkpoints/ in it", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The path is not a model in a supported format.
    #[error(
        "{} is no model: {found}; give a run directory, a checkpoint directory or a .safetensors file",
        path.display()
    )]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What was found at the path.
        found: String,
    },
    /// The run has not saved a checkpoint yet.
    #[error("{} has no checkpoint yet: let it train until it has saved one", path.display())]
    NoCheckpoint {
        /// The run or its `checkpoints` directory.
        path: PathBuf,
    },
    /// The run has checkpoints, but all of them are damaged.
    #[error("none of the {} checkpoints in {} can be read: {}", reasons.len(), path.display(), reasons.join("; "))]
    NoValidCheckpoint {
        /// The `checkpoints` directory.
        path: PathBuf,
        /// The reason for each checkpoint, newest first.
        reasons: Vec<String>,
    },
    /// candle could not create, convert or copy a tensor.
    #[error("{}: tensor `{tensor}`", path.display())]
    Tensor {
        /// The file that is read or written.
        path: PathBuf,
        /// The name of the tensor.
        tensor: String,
        /// The error of candle.
        source: Box<candle_core::Error>,
    },
}

/// So that functions that return a result of candle can use `?`.
impl From<CheckpointError> for candle_core::Error {
    fn from(error: CheckpointError) -> Self {
        Self::wrap(error)
    }
}

impl CheckpointError {
    /// A [`CheckpointError::Damaged`].
    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }

    /// Whether the error shows that the file is damaged. It does not if the file has a newer format, or if the
    /// operating system or candle could not read it: the bytes may be intact then.
    pub(crate) fn is_damage(&self) -> bool {
        use io::ErrorKind::{InvalidData, NotFound, UnexpectedEof};
        match self {
            Self::Io { source, .. } => matches!(source.kind(), InvalidData | NotFound | UnexpectedEof),
            Self::NewerFormat { .. } | Self::Tensor { .. } => false,
            _ => true,
        }
    }

    /// The message followed by those of its sources, for logs and lists.
    pub(crate) fn chain(&self) -> String {
        let mut text = self.to_string();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            // Writing to a String cannot fail.
            let _ = write!(text, ": {error}");
            source = error.source();
        }
        text
    }
}

/// The first differences, and how many more there are.
fn first_differences(differences: &[String]) -> String {
    const MAX_SHOWN: usize = 6;
    match differences.len().checked_sub(MAX_SHOWN) {
        None | Some(0) => differences.join("; "),
        Some(more) => format!("{}; and {more} more", differences[..MAX_SHOWN].join("; ")),
    }
}

/// Adds the operation and the path to an error of the operating system.
pub(crate) trait IoContext<T> {
    /// Converts the error into [`CheckpointError::Io`].
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| {
            // The text of the standard library, "failed to fill whole buffer", names its own implementation.
            let source = match source.kind() {
                io::ErrorKind::UnexpectedEof => io::Error::new(source.kind(), "the file ends early"),
                _ => source,
            };
            CheckpointError::Io { action, path: path.to_owned(), source }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_the_file_and_the_chain_names_the_reason() {
        let failed: io::Result<()> = Err(io::Error::other("no space left"));
        let error = failed.on("write", Path::new("a/b")).expect_err("the write fails");
        assert_eq!(error.to_string(), "cannot write a/b");
        assert_eq!(error.chain(), "cannot write a/b: no space left");
    }

    #[test]
    fn a_held_lock_names_its_holder_if_known() {
        let locked = |holder| CheckpointError::Locked { path: "r/.lock".into(), holder }.to_string();
        assert!(locked(Some(17)).contains("r/.lock is in use by process 17"));
        assert!(locked(None).contains("another process"));
    }
}
