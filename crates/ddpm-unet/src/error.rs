//! Errors of building and running a network.

/// Why a network could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnetError {
    /// A field of the configuration is out of its range.
    #[error("model.{field}: expected {expected}, found {found}")]
    Config {
        /// Name of the field in the configuration.
        field: &'static str,
        /// The values that the field accepts.
        expected: String,
        /// The value that the field has.
        found: String,
    },
    /// An argument of `forward` does not fit the network.
    #[error("{argument}: expected {expected}, found {found}")]
    Input {
        /// Name of the argument.
        argument: &'static str,
        /// The value that the network accepts.
        expected: String,
        /// The value that was given.
        found: String,
    },
    /// The weights are not those of the configuration. Every difference is listed.
    #[error("the weights do not fit the configuration: {}", .0.join("; "))]
    Weights(Vec<String>),
    /// A name that no variant of an enum has.
    #[error("{what}: expected one of {expected}; found {found}")]
    UnknownName {
        /// The kind of name that was expected, such as an activation.
        what: &'static str,
        /// Every known name.
        expected: String,
        /// The unknown name.
        found: String,
    },
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// So that functions that return a result of candle can use `?`. An error of candle is returned as it was.
impl From<UnetError> for candle_core::Error {
    fn from(error: UnetError) -> Self {
        match error {
            UnetError::Candle(error) => error,
            error => Self::wrap(error),
        }
    }
}

impl UnetError {
    pub(crate) fn config(field: &'static str, expected: impl Into<String>, found: impl std::fmt::Debug) -> Self {
        Self::Config { field, expected: expected.into(), found: format!("{found:?}") }
    }

    pub(crate) fn input(argument: &'static str, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self::Input { argument, expected: expected.into(), found: found.into() }
    }
}
