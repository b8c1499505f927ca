//! One process of a job.

/// Where a rank runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The name of its host.
    pub host: String,
    /// Its number among the ranks of that host, from 0.
    pub local_rank: usize,
}
