//! Seeded draws of rows.

use rand::Rng;
use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::SeedableRng;

/// Draws of row indices from a ChaCha12 generator. The key is the seed and the stream number is that of the subset or
/// resample, so draws are the same in any order and with any number of threads.
#[derive(Debug)]
pub(crate) struct RandomRows(ChaCha12Rng);

impl RandomRows {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut generator = ChaCha12Rng::seed_from_u64(seed);
        generator.set_stream(stream);
        Self(generator)
    }

    /// A number from 0 to `end` − 1, by the high bits of a product. The bias is below `end` / 2^64.
    fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.0.next_u64()) * end as u128) >> 64) as usize
    }

    /// `count` of `length` indices without replacement, in random order: the first steps of a Fisher–Yates shuffle.
    /// All of them if `count` equals `length`.
    pub(crate) fn subset(&mut self, length: usize, count: usize) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..length).collect();
        for i in 0..count.min(length) {
            let j = i + self.below(length - i);
            indices.swap(i, j);
        }
        indices.truncate(count);
        indices
    }

    /// How often each of `length` indices occurs among `length` draws with replacement.
    pub(crate) fn resample(&mut self, length: usize) -> Vec<f64> {
        let mut counts = vec![0.0; length];
        for _ in 0..length {
            counts[self.below(length)] += 1.0;
        }
        counts
    }
}
