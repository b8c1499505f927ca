//! Ranges of rows that are processed together.

use std::ops::Range;

/// The ranges of `size` indices that cover `0..length`; the last may be shorter.
///
/// The ranges do not depend on the number of threads. Sums over them, added up in order, therefore do not either.
pub(crate) fn blocks(length: usize, size: usize) -> Vec<Range<usize>> {
    (0..length).step_by(size).map(|start| start..(start + size).min(length)).collect()
}
