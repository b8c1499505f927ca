//! The error type of this crate.

use std::path::{Path, PathBuf};

/// Why images could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// A field of the configuration is out of range.
    #[error("data.{field}: expected {expected}, found {found}")]
    Config {
        /// The name of the field.
        field: &'static str,
        /// The valid values.
        expected: String,
        /// The value of the field.
        found: String,
    },
    /// The operating system reported an error for a file or directory.
    #[error("{}: {source}", one_line(path.display()))]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A file, an image or a tensor does not have the expected contents.
    #[error("{}: {}", one_line(name), one_line(problem))]
    Invalid {
        /// The file and the position in it, or the name of the value.
        name: String,
        /// What was expected and what was found.
        problem: String,
    },
    /// There are no images at the path of the configuration.
    #[error(
        "{}: no images found in {files} file{}; expected PNG, JPEG, WebP, GIF, BMP or TIFF files, \
         IDX, CIFAR-10 binary, Parquet, zip or tar",
        one_line(path.display()),
        if *files == 1 { "" } else { "s" }
    )]
    Empty {
        /// The path of the configuration.
        path: PathBuf,
        /// The number of files there.
        files: usize,
    },
    /// More images cannot be decoded than the configuration allows.
    #[error(
        "{undecodable} of {total} images cannot be decoded, \
         more than data.max_bad_share = {allowed_share} allows: {}{}",
        names.join("; "),
        if *undecodable > names.len() { "; …" } else { "" }
    )]
    TooManyUndecodable {
        /// The number of distinct undecodable images so far.
        undecodable: usize,
        /// The number of images in the set.
        total: usize,
        /// The share that the configuration allows.
        allowed_share: f64,
        /// The first of the undecodable images, each with its problem.
        names: Vec<String>,
    },
    /// No decodable image was found to replace an undecodable one.
    #[error("none of {tries} images tried in a row can be decoded: {}; …", names.join("; "))]
    NoReplacement {
        /// The number of images that were tried.
        tries: usize,
        /// Some of the undecodable images, each with its problem.
        names: Vec<String>,
    },
    /// The set has fewer images than one batch.
    #[error("a batch of {batch_size} needs at least as many images, found {images}")]
    SmallerThanBatch {
        /// The number of images in the set.
        images: usize,
        /// The number of images in a batch.
        batch_size: usize,
    },
    /// A loading thread ended without an error. This is a bug of this crate.
    #[error("a loading thread ended early")]
    Thread,
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// So that functions that return a result of candle can use `?`. An error of candle is returned as it was.
impl From<DataError> for candle_core::Error {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Candle(error) => error,
            error => Self::wrap(error),
        }
    }
}

/// The text with its control characters escaped: file names may contain line breaks, and an error message is one line.
pub(crate) fn one_line(text: impl std::fmt::Display) -> String {
    let escaped = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.to_string().chars().map(escaped).collect()
}

impl DataError {
    /// Converts an I/O error of the file at `path`, for use with `map_err`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self + '_ {
        move |source| Self::Io { path: path.to_path_buf(), source }
    }

    pub(crate) fn invalid(name: impl std::fmt::Display, problem: impl std::fmt::Display) -> Self {
        Self::Invalid { name: name.to_string(), problem: problem.to_string() }
    }
}
