//! Work of one rank that takes longer than the others would wait.

/// The guard of [`Communicator::long_work`](crate::Communicator::long_work).
#[must_use = "the time counts again when the guard is dropped"]
#[derive(Debug, Default)]
pub struct LongWork {}
