//! The errors of this crate, one line each.

use std::path::PathBuf;

/// The reason why a metric could not be computed or a file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MetricsError {
    /// A set of features has no rows.
    #[error("features have no rows, expected at least one")]
    NoRows,
    /// A feature has no values.
    #[error("features have width 0, expected at least one value a row")]
    NoWidth,
    /// The number of values is not rows times width.
    #[error("{values} values do not fill rows of width {width}")]
    Length {
        /// The number of values.
        values: usize,
        /// The number of values in a row.
        width: usize,
    },
    /// A row has another width than the first.
    #[error("row {row} has width {found}, expected {expected} as in row 0")]
    RowWidth {
        /// The index of the row, from 0.
        row: usize,
        /// Its width.
        found: usize,
        /// The width of the first row.
        expected: usize,
    },
    /// A value is NaN or infinite.
    #[error("row {row}, column {column} is {value}, expected a finite number")]
    NotFinite {
        /// The index of the row, from 0.
        row: usize,
        /// The index in the row, from 0.
        column: usize,
        /// The value.
        value: f64,
    },
    /// Two sets of features or statistics have different widths.
    #[error("features of width {first} cannot be compared with features of width {second}")]
    Widths {
        /// The width of the first argument.
        first: usize,
        /// The width of the second argument.
        second: usize,
    },
    /// A metric needs more samples.
    #[error("{what}: found {found} samples, expected at least {needed}")]
    TooFewSamples {
        /// The metric, or the argument of it.
        what: &'static str,
        /// The number of samples.
        found: usize,
        /// The smallest valid number.
        needed: usize,
    },
    /// A parameter is out of its range.
    #[error("{name} is {found}, expected {expected}")]
    Parameter {
        /// The name of the parameter.
        name: &'static str,
        /// The value.
        found: f64,
        /// The valid range.
        expected: &'static str,
    },
    /// A mean or a covariance is not valid.
    #[error("{field}: {problem}")]
    Statistics {
        /// `mu` or `sigma`.
        field: &'static str,
        /// What was found and what was expected.
        problem: String,
    },
    /// An iteration for eigenvalues or singular values did not converge.
    #[error("the {0} did not converge")]
    NoConvergence(&'static str),
    /// A file could not be read or written.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
    /// A file is not an archive of NumPy arrays.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What was found and what was expected.
        problem: String,
    },
    /// An array of a file is missing or invalid.
    #[error("{}, {field}: {problem}", path.display())]
    Field {
        /// The file.
        path: PathBuf,
        /// The name of the array.
        field: String,
        /// What was found and what was expected.
        problem: String,
    },
}

/// A result with the error of this crate.
pub(crate) type Result<T> = std::result::Result<T, MetricsError>;

/// An error if two widths differ.
pub(crate) fn check_widths(first: usize, second: usize) -> Result<()> {
    if first == second { Ok(()) } else { Err(MetricsError::Widths { first, second }) }
}

/// An error if there are fewer than `needed` samples.
pub(crate) fn check_samples(what: &'static str, found: usize, needed: usize) -> Result<()> {
    if found >= needed { Ok(()) } else { Err(MetricsError::TooFewSamples { what, found, needed }) }
}

/// An error unless the parameter is valid.
pub(crate) fn check_parameter(valid: bool, name: &'static str, found: f64, expected: &'static str) -> Result<()> {
    if valid { Ok(()) } else { Err(MetricsError::Parameter { name, found, expected }) }
}
