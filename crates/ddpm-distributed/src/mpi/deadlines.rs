//! How long the ranks waited for have been silent.

use std::time::{Duration, Instant};

/// When each rank was heard last.
#[derive(Debug)]
pub(super) struct Deadlines {
    timeout: Duration,
    heard: Vec<Instant>,
}

impl Deadlines {
    /// The deadlines of a wait for some of `ranks` ranks that begins `now`.
    pub(super) fn new(timeout: Duration, ranks: usize, now: Instant) -> Self {
        Self { timeout, heard: vec![now; ranks] }
    }

    /// `rank` has given a sign of life.
    pub(super) fn heard(&mut self, rank: usize, now: Instant) {
        self.heard[rank] = now;
    }

    /// The ranks among `awaited` that have been silent for too long, and the longest silence; `None` if there is none.
    pub(super) fn missed(&self, awaited: impl Iterator<Item = usize>, now: Instant) -> Option<(Vec<usize>, Duration)> {
        let mut missing: Vec<_> = awaited.filter(|&rank| now - self.heard[rank] >= self.timeout).collect();
        missing.sort_unstable();
        missing.dedup();
        let silence = missing.iter().map(|&rank| now - self.heard[rank]).max()?;
        Some((missing, silence))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ranks_that_are_awaited_and_silent_are_missing() {
        let (start, second) = (Instant::now(), Duration::from_secs(1));
        let mut deadlines = Deadlines::new(4 * second, 4, start);
        assert_eq!(deadlines.missed(1..4, start + 3 * second), None);
        deadlines.heard(2, start + 3 * second);
        assert_eq!(deadlines.missed([3, 2, 3].into_iter(), start + 5 * second), Some((vec![3], 5 * second)));
        assert_eq!(deadlines.missed([1, 3, 1].into_iter(), start + 4 * second), Some((vec![1, 3], 4 * second)));
        assert_eq!(deadlines.missed([2].into_iter(), start + 6 * second), None);
        assert_eq!(deadlines.missed([2].into_iter(), start + 8 * second), Some((vec![2], 5 * second)));
    }
}
