//! The part of a bucket that each rank sums.

use std::ops::Range;

/// The parts of a bucket of `len` elements that `ranks` ranks sum: equal ones, of which the last may be shorter or
/// empty.
pub(crate) fn bucket_parts(len: usize, ranks: usize) -> Vec<Range<usize>> {
    let part = len.div_ceil(ranks);
    (0..ranks).map(|rank| (rank * part).min(len)..((rank + 1) * part).min(len)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_cover_the_bucket() {
        for ranks in 1..=9 {
            for len in 0..=40 {
                let parts = bucket_parts(len, ranks);
                assert_eq!(parts.len(), ranks);
                assert_eq!(parts.iter().cloned().flatten().collect::<Vec<_>>(), (0..len).collect::<Vec<_>>());
                assert!(parts.iter().all(|part| part.len() <= parts[0].len()), "{len} elements, {ranks} ranks");
            }
        }
    }
}
