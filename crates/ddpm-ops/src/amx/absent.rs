//! Where there is no such unit.

use super::{Factor, Onto, Product, Tiles};

pub(super) fn request() -> bool {
    false
}

pub(super) fn configure() {}

pub(super) fn release() {}

#[allow(clippy::too_many_arguments, reason = "the arguments of a product of tiles")]
pub(super) fn multiply<A, B, const PARTS: usize>(
    _: &Tiles,
    _: &Factor<'_, A, PARTS>,
    _: usize,
    _: usize,
    _: &Factor<'_, B, PARTS>,
    _: usize,
    _: &[usize],
    _: Product<'_>,
    _: Onto<'_>,
) {
    unreachable!("no Tiles exist without the unit")
}
