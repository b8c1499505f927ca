//! What can be wrong with image files and with what is asked of them.

use std::path::{Path, PathBuf};

/// Why images could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A field of the configuration has a value that makes no sense.
    #[error("data.{field}: expected {expected}, found {found}")]
    Config {
        /// The field.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The system refused a file.
    #[error("{}: {source}", one_line(path.display()))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file is not what it seems, or is damaged.
    #[error("{}: {}", one_line(name), one_line(problem))]
    Damaged {
        /// The file, and the place in it.
        name: String,
        /// Expected and found.
        problem: String,
    },
    /// There is nothing to train on.
    #[error(
        "{}: no images found; expected PNG, JPEG, WebP, GIF, BMP or TIFF files, IDX, CIFAR-10 binary, Parquet, zip or tar",
        one_line(path.display())
    )]
    Empty {
        /// Where they were looked for.
        path: PathBuf,
    },
    /// More images than the configuration allows could not be decoded.
    #[error(
        "{bad} of {total} images cannot be decoded, more than data.max_bad_share allows: {}{}",
        names.join("; "),
        if *bad > names.len() { "; …" } else { "" }
    )]
    TooManyBad {
        /// Distinct images found bad so far.
        bad: usize,
        /// Images of the set.
        total: usize,
        /// The first of them, each with its problem.
        names: Vec<String>,
    },
    /// No image was found to stand in for one that cannot be decoded.
    #[error("none of {tries} images tried in a row can be decoded: {}; …", names.join("; "))]
    NoStandIn {
        /// How many were tried.
        tries: usize,
        /// Some of those found bad so far, each with its problem.
        names: Vec<String>,
    },
    /// The set is smaller than one batch.
    #[error("a batch of {batch_size} needs at least as many images, found {images}")]
    SmallerThanBatch {
        /// Images of the set.
        images: usize,
        /// Images of a batch.
        batch_size: usize,
    },
    /// A loading thread ended without a word: a bug.
    #[error("a loading thread ended early")]
    Thread,
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// The text with its control characters escaped: a file name may hold any, and an error is one line.
pub(crate) fn one_line(text: impl std::fmt::Display) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.to_string().chars().map(escaped).collect()
}

impl DataError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn damaged(name: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::Damaged { name: name.to_string(), problem: problem.to_string() }
    }
}
