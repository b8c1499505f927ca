//! What can be wrong with a network's configuration or weights.

/// Why a network could not be built or run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UnetError {
    /// A field of the configuration has a value that no network can have.
    #[error("model.{field}: expected {expected}, found {found}")]
    Config {
        /// The field, in the names of the configuration.
        field: &'static str,
        /// What it may be.
        expected: String,
        /// What it is.
        found: String,
    },
    /// The weights are not those of the configuration. Every difference is listed.
    #[error("the weights do not fit the configuration: {}", .0.join("; "))]
    Weights(Vec<String>),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl UnetError {
    pub(crate) fn config(field: &'static str, expected: impl Into<String>, found: impl std::fmt::Debug) -> Self {
        Self::Config { field, expected: expected.into(), found: format!("{found:?}") }
    }
}
