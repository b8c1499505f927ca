//! Upper limits of a network's size.
//!
//! Fields that are each within their range can still multiply to a tensor that no machine can hold, and an allocation
//! that fails ends the process. A configuration is therefore checked before anything is allocated.

use crate::error::UnetError;

/// Largest number of levels: one more would divide any image below one pixel.
pub(crate) const MAX_LEVELS: usize = 16;
/// Largest number of channels, small enough that the product of two does not overflow.
pub(crate) const MAX_CHANNELS: usize = 1 << 20;
/// Largest number of elements of one tensor, a weight or a feature map of one image: 2 GiB in f32.
const MAX_ELEMENTS: usize = 1 << 29;

/// Checks that a tensor with those axes has at most [`MAX_ELEMENTS`] elements.
///
/// # Errors
/// [`UnetError::Config`] naming `field`; `what` describes the tensor.
pub(crate) fn check_elements(field: &'static str, what: &str, axes: &[usize]) -> Result<(), UnetError> {
    let elements = axes.iter().fold(1_usize, |all, axis| all.saturating_mul(*axis));
    if elements <= MAX_ELEMENTS {
        return Ok(());
    }
    let found = axes.iter().map(ToString::to_string).collect::<Vec<_>>().join(" × ");
    Err(UnetError::Config { field, expected: format!("{what} of at most {MAX_ELEMENTS} values"), found })
}

/// Checks the number of attention scores of one head of one image: positions × positions. `sides` are the height and
/// width of the feature maps that have attention.
pub(crate) fn check_scores(field: &'static str, sides: impl Iterator<Item = (usize, usize)>) -> Result<(), UnetError> {
    let positions = sides.map(|(height, width)| height.saturating_mul(width)).max().unwrap_or(0);
    check_elements(field, "positions × positions: the scores of one head of the largest attention", &[positions; 2])
}
