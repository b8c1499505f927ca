//! What can be wrong with a schedule, said with the value that is wrong.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// Why a schedule could not be made.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// T = 0.
    NoTimesteps,
    /// More steps than [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS): refused before anything is allocated.
    TooManyTimesteps {
        /// The T asked for.
        timesteps: usize,
        /// The largest T accepted.
        max: usize,
    },
    /// One β of the sequence is not a number in (0, 1).
    Beta {
        /// Its index, from 0.
        index: usize,
        /// Its value.
        value: f64,
    },
    /// A parameter of the schedule is out of its range.
    Parameter {
        /// The name of the parameter, as in [`ScheduleConfig`](crate::ScheduleConfig).
        name: &'static str,
        /// Its value.
        value: f64,
        /// The range it should be in.
        expected: &'static str,
    },
    /// `beta_start` exceeds `beta_end`, so that noise would be added ever more slowly.
    Decreasing {
        /// The first β.
        start: f64,
        /// The last β.
        end: f64,
    },
    /// Multiplying β by 1000/T leaves a β that is no longer below 1.
    Rescaled {
        /// Which β: `beta_start` or `beta_end`.
        name: &'static str,
        /// Its value before rescaling.
        value: f64,
        /// Its value after rescaling.
        rescaled: f64,
        /// T.
        timesteps: usize,
    },
    /// Betas given one by one belong to one T and cannot be rescaled to another.
    GivenBetasRescaled,
    /// The schedule of given betas was chosen, but none were given.
    BetasMissing,
    /// The number of given betas is not T.
    BetasLength {
        /// T.
        timesteps: usize,
        /// The number of betas.
        found: usize,
    },
    /// Zero terminal SNR moves √ᾱ between its first and its last value, which therefore must differ.
    ZeroTerminalSnr {
        /// √ᾱ of the first step.
        first: f64,
        /// √ᾱ of the last step.
        last: f64,
    },
    /// A number of steps to keep that is zero or larger than the schedule has.
    Steps {
        /// The number of steps asked for.
        steps: usize,
        /// The number of steps there are.
        timesteps: usize,
    },
    /// The indices to keep are not strictly increasing or run past the end.
    Selection {
        /// Where in the list of indices.
        position: usize,
        /// The index found there.
        index: usize,
        /// The number of steps there are.
        timesteps: usize,
    },
}

impl Display for ScheduleError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTimesteps => write!(f, "timesteps is 0, expected at least 1"),
            Self::TooManyTimesteps { timesteps, max } => {
                write!(f, "timesteps is {timesteps}, expected at most {max}")
            }
            Self::Beta { index, value } => write!(f, "beta[{index}] is {value}, expected a number in (0, 1)"),
            Self::Parameter { name, value, expected } => write!(f, "{name} is {value}, expected {expected}"),
            Self::Decreasing { start, end } => {
                write!(f, "beta_start is {start} and beta_end is {end}, expected beta_start <= beta_end")
            }
            Self::Rescaled { name, value, rescaled, timesteps } => write!(
                f,
                "{name} = {value} rescaled by 1000/{timesteps} is {rescaled}, expected below 1: \
                 use more than {:.0} timesteps",
                1000.0 * value
            ),
            Self::GivenBetasRescaled => {
                write!(f, "rescale_timesteps is true, expected false with given betas: they belong to one T")
            }
            Self::BetasMissing => write!(f, "betas is absent, expected one value a time step"),
            Self::BetasLength { timesteps, found } => {
                write!(f, "betas has {found} values, expected {timesteps}, one a time step")
            }
            Self::ZeroTerminalSnr { first, last } => write!(
                f,
                "zero terminal SNR needs sqrt(alpha_bar) to fall: it is {first} at the first step and {last} at the last"
            ),
            Self::Steps { steps, timesteps } => {
                write!(f, "steps is {steps}, expected 1 to {timesteps}, the number of timesteps")
            }
            Self::Selection { position, index, timesteps } => write!(
                f,
                "index {index} at position {position}, expected strictly increasing indices below {timesteps}, \
                 at least one"
            ),
        }
    }
}

impl Error for ScheduleError {}
