//! How large a network may be: fields that are each within bounds may ask for more together than any machine has, and an
//! allocation that fails ends the process.

use crate::UnetError;

/// More levels would divide any image below one pixel.
pub(crate) const MOST_LEVELS: usize = 16;
/// Ample for every network there is, and small enough that no product of two overflows.
pub(crate) const MOST_CHANNELS: usize = 1 << 20;
/// The most values of one tensor, 2 GiB in f32: a weight, or a feature map of one image.
const MOST_VALUES: usize = 1 << 29;

/// Whether a tensor of those axes can be held.
///
/// # Errors
/// [`UnetError::Config`] naming the field when it cannot.
pub(crate) fn check_values(field: &'static str, what: &str, axes: &[usize]) -> Result<(), UnetError> {
    let values = axes.iter().fold(1_usize, |all, axis| all.saturating_mul(*axis));
    if values <= MOST_VALUES {
        return Ok(());
    }
    let found = axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    Err(UnetError::Config { field, expected: format!("{what} of at most {MOST_VALUES} values"), found })
}
