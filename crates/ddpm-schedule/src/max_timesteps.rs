//! The valid range of the number of timesteps T.

use crate::ScheduleError;

/// The largest number of timesteps that a schedule may have. Published models use at most 4,000; the limit prevents a
/// huge allocation after a typing error in a configuration.
pub const MAX_TIMESTEPS: usize = 1_000_000;

/// Returns an error unless T is in 1..=[`MAX_TIMESTEPS`].
pub(crate) fn check_timesteps(timesteps: usize) -> Result<(), ScheduleError> {
    match timesteps {
        0 => Err(ScheduleError::NoTimesteps),
        1..=MAX_TIMESTEPS => Ok(()),
        _ => Err(ScheduleError::TooManyTimesteps { timesteps, max: MAX_TIMESTEPS }),
    }
}
