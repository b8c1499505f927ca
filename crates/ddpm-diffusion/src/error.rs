//! What can be wrong with a request to the diffusion process.

/// Why a quantity could not be computed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DiffusionError {
    /// A time step is not an index into the schedule.
    #[error("time step {found}: expected an index below {len}")]
    TimeStep {
        /// The index.
        found: usize,
        /// The steps of the schedule.
        len: usize,
    },
    /// Two tensors that belong together differ in shape.
    #[error("{what}: expected shape {expected:?}, found {found:?}")]
    Shape {
        /// The tensor.
        what: &'static str,
        /// What it should be.
        expected: Vec<usize>,
        /// What it is.
        found: Vec<usize>,
    },
    /// A number of steps that the schedule does not have.
    #[error(transparent)]
    Schedule(#[from] ddpm_schedule::ScheduleError),
    /// A tensor operation failed.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

/// An error unless `found` is `expected`.
pub(crate) fn check_shape(what: &'static str, found: &[usize], expected: &[usize]) -> Result<(), DiffusionError> {
    if found == expected {
        return Ok(());
    }
    Err(DiffusionError::Shape { what, expected: expected.to_vec(), found: found.to_vec() })
}
