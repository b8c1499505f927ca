//! The reason why a file of `torch.save` cannot be read, before the path is known.

use std::path::Path;

use crate::error::FeaturesError;

/// The reason.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The file names an object that is not allowed.
    Refused(String),
    /// Anything else: what was expected and what was found.
    Damaged(String),
}

impl Problem {
    pub(crate) fn damaged<T>(problem: impl Into<String>) -> Result<T, Self> {
        Err(Self::Damaged(problem.into()))
    }

    /// The error with the path of the file.
    pub(crate) fn in_file(self, path: &Path) -> FeaturesError {
        match self {
            Self::Refused(global) => FeaturesError::RefusedGlobal { path: path.to_owned(), global },
            Self::Damaged(problem) => FeaturesError::Pth { path: path.to_owned(), problem },
        }
    }
}
