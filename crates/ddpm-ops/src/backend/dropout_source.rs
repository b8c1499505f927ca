//! The random numbers of dropout.

/// The source of the random numbers of dropout. The caller implements it, so that the numbers come from a stream of
/// the caller.
pub trait DropoutSource {
    /// True with probability `rate`: whether the next element is dropped.
    fn drops(&mut self, rate: f64) -> bool;

    /// A seed of 64 random bits, from which a backend derives which elements of one tensor are dropped.
    fn seed(&mut self) -> u64;
}
