//! The crate's error: what was being done, to which file, what was expected and what was found.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's functions.
pub type Result<T, E = CheckpointError> = std::result::Result<T, E>;

/// Everything that can go wrong with a run directory, a checkpoint or a model file.
///
/// A message does not repeat that of its source: print the chain (`{:#}` with anyhow) to see both.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The system refused: no permission, no space left, not there.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was attempted, as a verb phrase.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Another process (or another part of this one) holds the run.
    #[error(
        "{} is in use by {}: wait for it to end, or choose another directory",
        path.display(),
        holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
        /// The process that holds it, if it has written its number yet.
        holder: Option<u32>,
    },
    /// The bytes are not those that were written, or are no file of this format.
    #[error("{} is damaged: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit, with the expected and the found.
        problem: String,
    },
    /// A newer version of this library wrote it.
    #[error("{} has format version {found}; this program reads up to {supported}: use a newer one", path.display())]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
        /// The newest version this library reads.
        supported: u32,
    },
    /// A tensor holds NaN or an infinity.
    #[error("{}: tensor `{tensor}` holds a value that is not finite ({value} at index {index})", path.display())]
    NotFinite {
        /// The file read or being written.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The first such value.
        value: f32,
        /// Its index in row-major order.
        index: usize,
    },
    /// A tensor has a type that weights do not have.
    #[error("{}: tensor `{tensor}` is of type {found}, expected {expected}", path.display())]
    WrongType {
        /// The file read or being written.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The accepted types.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// Tensors do not fit the network: every difference, of which the message has the first ones.
    #[error("{} does not fit the network: {}", path.display(), beginning(differences))]
    WrongTensors {
        /// The file.
        path: PathBuf,
        /// One for each tensor that is missing, unexpected or of another shape.
        differences: Vec<String>,
    },
    /// Weights without a description of their network.
    #[error("{} holds tensors but no description of their network (no `ddpm` metadata)", path.display())]
    NoDescription {
        /// The file.
        path: PathBuf,
    },
    /// A field has a value that it cannot have, or lacks.
    #[error("{}: field `{field}`: {problem}", path.display())]
    WrongField {
        /// The file read or being written.
        path: PathBuf,
        /// The field's name.
        field: Cow<'static, str>,
        /// The expected and the found.
        problem: String,
    },
    /// Something is larger than this library reads.
    #[error("{}: {what} takes {bytes} bytes, more than the {limit} allowed", path.display())]
    TooLarge {
        /// The file read or being written.
        path: PathBuf,
        /// The part that is too large.
        what: &'static str,
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// A name that would leave its directory, or that a file cannot have.
    #[error("{}: `{name}` is no plain file name", path.display())]
    UnsafeName {
        /// The file or directory concerned.
        path: PathBuf,
        /// The name.
        name: String,
    },
    /// There is nothing at that path.
    #[error("{} does not exist", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The directory already holds a run.
    #[error("{} already holds a run: resume it, or choose another directory", path.display())]
    AlreadyARun {
        /// The directory.
        path: PathBuf,
    },
    /// The directory holds no run.
    #[error("{} holds no run: expected config.toml or checkpoints/ in it", path.display())]
    NotARun {
        /// The directory.
        path: PathBuf,
    },
    /// The path holds no model in a form this library knows.
    #[error("{} is no model: {found}; give a run directory, a checkpoint directory or a .safetensors file", path.display())]
    NotAModel {
        /// The path.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// The run has not saved anything yet.
    #[error("{} has no checkpoint yet: let it train until it has saved one", path.display())]
    NoCheckpoint {
        /// The run or its `checkpoints` directory.
        path: PathBuf,
    },
    /// There are checkpoints, none of which can be read.
    #[error("none of the {} checkpoints in {} can be read: {}", reasons.len(), path.display(), reasons.join("; "))]
    NoValidCheckpoint {
        /// The `checkpoints` directory.
        path: PathBuf,
        /// Why not, one for each checkpoint, newest first.
        reasons: Vec<String>,
    },
    /// The tensor library failed, on memory or on a device.
    #[error("{}: tensor `{tensor}`", path.display())]
    Tensor {
        /// The file read or being written.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// The library's reason.
        source: Box<candle_core::Error>,
    },
}

impl CheckpointError {
    /// A [`CheckpointError::Damaged`].
    pub(crate) fn damaged(path: &Path, problem: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_owned(), problem: problem.into() }
    }

    /// Whether what was read is damaged. A newer format or a system that refuses says nothing against the bytes.
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

/// All of a list, but for one that nobody would read to its end.
fn beginning(differences: &[String]) -> String {
    const MOST: usize = 6;
    match differences.len().checked_sub(MOST) {
        None | Some(0) => differences.join("; "),
        Some(more) => format!("{}; and {more} more", differences[..MOST].join("; ")),
    }
}

/// Names the file and the deed in an error of the system.
pub(crate) trait IoContext<T> {
    /// Turns the system's error into this crate's.
    fn on(self, action: &'static str, path: &Path) -> Result<T>;
}

impl<T> IoContext<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T> {
        self.map_err(|source| CheckpointError::Io { action, path: path.to_owned(), source })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_the_file_and_the_chain_names_the_reason() {
        let failed: io::Result<()> = Err(io::Error::other("no space left"));
        let error = failed.on("write", Path::new("a/b")).expect_err("it failed");
        assert_eq!(error.to_string(), "cannot write a/b");
        assert_eq!(error.chain(), "cannot write a/b: no space left");
    }

    #[test]
    fn a_held_lock_names_its_holder_when_known() {
        let locked = |holder| CheckpointError::Locked { path: "r/.lock".into(), holder }.to_string();
        assert!(locked(Some(17)).contains("r/.lock is in use by process 17"));
        assert!(locked(None).contains("another process"));
    }
}
