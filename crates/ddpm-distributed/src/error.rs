//! What can fail between ranks.

/// An error of a [`Communicator`](crate::Communicator).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DistributedError {
    /// A tensor of a bucket could not be read or made.
    #[error("a bucket of gradients: {0}")]
    Tensor(#[from] candle_core::Error),
}
