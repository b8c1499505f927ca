//! The division of work among the threads of the rayon pool.

use std::ops::Range;

use rayon::prelude::*;

/// Calls `run` with every item: on all threads of the pool if `threads` is above 1, else on this thread.
pub(crate) fn for_each_item<I: IndexedParallelIterator>(threads: usize, items: I, run: impl Fn(I::Item) + Send + Sync) {
    items.with_min_len(if threads > 1 { 1 } else { usize::MAX }).for_each(run);
}

/// Divides `0..items` into at most `parts` consecutive ranges whose lengths differ by at most one.
///
/// The ranges depend on these two numbers alone, so sums that are computed range by range have the same bits in every
/// run.
pub(crate) fn even_ranges(items: usize, parts: usize) -> Vec<Range<usize>> {
    let parts = parts.clamp(1, items.max(1));
    (0..parts).map(|i| items * i / parts..items * (i + 1) / parts).collect()
}
