//! What the user may choose about the communication of a job.

use std::time::Duration;

/// Options of [`connect`](crate::connect). They are the same on all ranks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The time after which a rank that gives no sign of life counts as lost. 600 s by default, at least 1 s.
    pub rank_timeout: Duration,
    /// The largest number of elements of one message, from 1 to `i32::MAX`, which is the largest that MPI can count.
    /// Longer ones are sent in pieces. 2²⁸ by default: 1 GiB of f32.
    pub message_elements: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { rank_timeout: Duration::from_secs(600), message_elements: 1 << 28 }
    }
}
