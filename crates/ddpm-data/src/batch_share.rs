//! The batches of one of several processes that train together.

/// The share of one process (rank) in the batches of a training: of each group of consecutive batches, one step of
/// the training, an equal number of consecutive ones.
///
/// # Examples
/// ```
/// use ddpm_data::BatchShare;
///
/// // Steps of four batches, shared by two ranks: rank 1 takes the third and the fourth of each step.
/// let share = BatchShare { batches_per_step: 4, rank: 1, ranks: 2 };
/// let batches: Vec<u64> = (0..6).map(|n| share.batch(n)).collect();
/// assert_eq!(batches, [2, 3, 6, 7, 10, 11]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShare {
    /// Number of batches of a step, a multiple of `ranks`.
    pub batches_per_step: u64,
    /// The number of the process, from 0 to `ranks` − 1.
    pub rank: u64,
    /// Number of processes, at least 1.
    pub ranks: u64,
}

impl BatchShare {
    /// All batches.
    pub const ALL: Self = Self { batches_per_step: 1, rank: 0, ranks: 1 };

    /// The number of the `n`-th batch of this share among all batches, both from 0.
    pub fn batch(self, n: u64) -> u64 {
        let of_rank = (self.batches_per_step / self.ranks).max(1);
        n / of_rank * self.batches_per_step + self.rank * of_rank + n % of_rank
    }
}
