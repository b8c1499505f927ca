//! The errors of schedules. Each message contains the invalid value and the expected range.

use std::error::Error;
use std::fmt::{self, Display, Formatter};

/// The reason why a schedule could not be built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum ScheduleError {
    /// T is 0.
    NoTimesteps,
    /// T is above [`MAX_TIMESTEPS`](crate::MAX_TIMESTEPS). The check precedes all allocations.
    TooManyTimesteps {
        /// The requested T.
        timesteps: usize,
        /// The largest valid T.
        max: usize,
    },
    /// A β of the sequence is not a number in (0, 1).
    Beta {
        /// The index of the β, from 0.
        index: usize,
        /// The value.
        value: f64,
    },
    /// A parameter of the rule is out of its range.
    Parameter {
        /// The name of the parameter, as in [`ScheduleConfig`](crate::ScheduleConfig).
        name: &'static str,
        /// The value.
        value: f64,
        /// The valid range.
        expected: &'static str,
    },
    /// `beta_start` is larger than `beta_end`.
    Decreasing {
        /// The first β.
        start: f64,
        /// The last β.
        end: f64,
    },
    /// A β multiplied by 1000/T is not below 1.
    Rescaled {
        /// The name of the parameter: `beta_start` or `beta_end`.
        name: &'static str,
        /// The value before rescaling.
        value: f64,
        /// The value after rescaling.
        rescaled: f64,
        /// T.
        timesteps: usize,
    },
    /// Explicit betas belong to one T and cannot be rescaled to another.
    GivenBetasRescaled,
    /// The rule `given` requires the field `betas`, which is absent.
    BetasMissing,
    /// The number of explicit betas is not T.
    BetasLength {
        /// T.
        timesteps: usize,
        /// The number of betas.
        found: usize,
    },
    /// Zero terminal SNR rescales √ᾱ by the difference of its first and last value, which must therefore be positive.
    ZeroTerminalSnr {
        /// √ᾱ of the first step.
        first: f64,
        /// √ᾱ of the last step.
        last: f64,
    },
    /// The number of steps of a respaced schedule is 0 or larger than the length of the original schedule.
    Steps {
        /// The requested number of steps.
        steps: usize,
        /// The length of the schedule.
        timesteps: usize,
    },
    /// The selected indices are empty, not strictly increasing, or not below the length of the schedule.
    Selection {
        /// The position in the list of indices.
        position: usize,
        /// The index at this position.
        index: usize,
        /// The length of the schedule.
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
            Self::BetasMissing => write!(f, "betas is absent, expected one value per timestep"),
            Self::BetasLength { timesteps, found } => {
                write!(f, "betas has {found} values, expected {timesteps}, one per timestep")
            }
            Self::ZeroTerminalSnr { first, last } => write!(
                f,
                "zero terminal SNR: sqrt(alpha_bar) is {first} at the first step and {last} at the last, \
                 expected a smaller value at the last"
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
