//! The interface of all communicators.

use std::fmt::Debug;

use candle_core::Tensor;

use crate::error::DistributedError;
use crate::long_work::LongWork;
use crate::member::Member;
use crate::pending_sum::PendingSum;

/// What the ranks of a job do together.
///
/// Every method except [`Communicator::abort`] and [`Communicator::long_work`] is collective: all ranks call the same
/// methods in the same order.
///
/// A job ends in one of two ways: all ranks call [`Communicator::finalize`], or one calls [`Communicator::abort`].
/// After an error no collective method can be used any more; `abort` is what remains.
pub trait Communicator: Debug + Send + Sync {
    /// The number of this process, from 0.
    fn rank(&self) -> usize;

    /// The number of processes, at least 1.
    fn size(&self) -> usize;

    /// Where each rank runs, in their order.
    fn members(&self) -> &[Member];

    /// Starts the sum of a bucket over all ranks and returns while it is in progress. Elements are added pairwise in
    /// the order of the ranks, as [`pairwise_sum`](crate::pairwise_sum) adds them. Buckets are summed one after the
    /// other, in the order of the calls.
    ///
    /// # Shapes
    /// A contiguous f32 tensor of one axis, equally long on every rank.
    ///
    /// # Errors
    /// When the bucket cannot be read, or a rank has ended.
    fn start_sum(&self, bucket: Tensor) -> Result<PendingSum, DistributedError>;

    /// The bytes of rank 0, on every rank. Other ranks pass an empty vector.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, DistributedError>;

    /// The bytes of every rank in their order, on rank 0; `None` on the others.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn gather(&self, bytes: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DistributedError>;

    /// Whether `flag` is set on any rank, on every rank.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn any(&self, flag: bool) -> Result<bool, DistributedError> {
        let of_all = self.gather(vec![u8::from(flag)])?;
        let any = of_all.is_some_and(|of_all| of_all.iter().any(|flag| *flag == [1]));
        Ok(self.broadcast(vec![u8::from(any)])? == [1])
    }

    /// The values of every rank in their order, on rank 0; `None` on the others. Their numbers may differ.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn gather_values(&self, values: Vec<f32>) -> Result<Option<Vec<Vec<f32>>>, DistributedError> {
        let of_all = self.gather(values.into_iter().flat_map(f32::to_le_bytes).collect())?;
        let decode = |bytes: &Vec<u8>| bytes.as_chunks().0.iter().map(|value| f32::from_le_bytes(*value)).collect();
        Ok(of_all.map(|of_all| of_all.iter().map(decode).collect()))
    }

    /// Returns when every rank has called it.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn barrier(&self) -> Result<(), DistributedError>;

    /// While the guard lives, the time that other ranks wait for this one does not count, as when rank 0 writes a
    /// checkpoint.
    fn long_work(&self) -> LongWork;

    /// Ends all processes of the job; this one exits with `exit_code`. May be called from any thread, also while
    /// another one waits in a collective method. Does not return, whatever the state of the library below.
    fn abort(&self, exit_code: i32) -> !;

    /// Ends the communication in order: waits until every rank has called it. A process that ends without it counts as
    /// failed. Nothing but `abort` may be called afterwards.
    ///
    /// # Errors
    /// When a rank has ended or does not answer in time.
    fn finalize(&self) -> Result<(), DistributedError> {
        self.barrier()
    }
}
