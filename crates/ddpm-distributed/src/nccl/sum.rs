//! The sum of a bucket over all ranks, in the order of [`pairwise_sum`](crate::pairwise_sum).

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaSlice, CudaStream, CudaView};
use candle_core::op::BackpropOp;
use candle_core::{CudaDevice, CudaStorage, DType, Device, Storage, Tensor};

use super::errors::{cuda, nccl};
use super::thread::{CommThread, InProgress, grouped};
use crate::bucket_parts::bucket_parts;
use crate::error::DistributedError;
use crate::pairwise_sum::pairwise_tree;

/// A sum that the communication's stream writes.
pub(super) struct EnqueuedSum {
    /// None once it is a tensor.
    result: Option<CudaSlice<f32>>,
    done: Arc<CudaEvent>,
    /// The GPU with the stream that computes.
    device: CudaDevice,
}

impl EnqueuedSum {
    /// Makes the stream that computes wait for the sum, and returns its first `elements` values; what follows is
    /// padding.
    pub(super) fn into_tensor(mut self, elements: usize) -> Result<Tensor, DistributedError> {
        self.device.cuda_stream().wait(&self.done).map_err(|error| cuda("cuStreamWaitEvent", error))?;
        let result = self.result.take().expect("it is taken once");
        Ok(tensor(result, &self.device).narrow(0, 0, elements)?)
    }
}

impl Drop for EnqueuedSum {
    fn drop(&mut self) {
        // The memory of a sum that nobody waits for is freed in the order of the stream that computes, so after this.
        if self.result.is_some() {
            let _ = self.device.cuda_stream().wait(&self.done);
        }
    }
}

fn tensor(values: CudaSlice<f32>, device: &CudaDevice) -> Tensor {
    let len = values.len();
    let storage = CudaStorage::wrap_cuda_slice(values, device.clone());
    Tensor::from_storage(Storage::Cuda(storage), len, BackpropOp::none(), false)
}

/// The values of a contiguous tensor on a GPU.
fn with_values<R>(
    tensor: &Tensor,
    read: impl FnOnce(&CudaView<'_, f32>) -> Result<R, DistributedError>,
) -> Result<R, DistributedError> {
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cuda(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
        let found = format!("{:?} on {:?}", tensor.dtype(), tensor.device().location());
        return Err(DistributedError::Bucket { expected: "contiguous values on a GPU", found });
    };
    read(&storage.as_cuda_slice::<f32>()?.slice(from..to))
}

impl CommThread {
    /// Enqueues the sum of all ranks' buckets into `result`, which has a multiple of the ranks' number of elements.
    /// `ready` is the event after which the bucket and the result may be used.
    pub(super) fn sum(
        &mut self,
        number: u64,
        bucket: Tensor,
        ready: &CudaEvent,
        mut result: CudaSlice<f32>,
        device: CudaDevice,
    ) -> Result<EnqueuedSum, DistributedError> {
        self.trace(number, bucket.elem_count(), "sending");
        let (comm, stream) = self.comm()?;
        stream.wait(ready).map_err(|error| cuda("cuStreamWaitEvent", error))?;
        let parts = bucket_parts(bucket.elem_count(), self.size);
        let own = with_values(&bucket, |values| self.exchange_parts(values, &parts, &stream))?;
        let sum = self.sum_own_part(own, parts[0].len())?;
        with_values(&sum, |sum| nccl("ncclAllGather", comm.all_gather(sum, &mut result)).map(|_| ()))?;
        let done = Arc::new(stream.record_event(None).map_err(|error| cuda("cuEventRecord", error))?);
        self.keep_until_done(InProgress { number, done: done.clone(), bucket, since: Instant::now() });
        Ok(EnqueuedSum { result: Some(result), done, device })
    }

    /// Sends each rank its part of `values`, and returns all ranks' versions of this rank's part, in their order.
    fn exchange_parts(
        &self,
        values: &CudaView<'_, f32>,
        parts: &[Range<usize>],
        stream: &Arc<CudaStream>,
    ) -> Result<Vec<CudaSlice<f32>>, DistributedError> {
        let (comm, _) = self.comm()?;
        let own = parts[self.rank].clone();
        let mut received = Vec::with_capacity(self.size);
        if !own.is_empty() {
            for rank in 0..self.size {
                let part = match rank == self.rank {
                    true => stream.clone_dtod(&values.slice(own.clone())),
                    false => stream.alloc_zeros::<f32>(own.len()),
                };
                received.push(part.map_err(|error| cuda("cuMemAllocAsync", error))?);
            }
        }
        grouped(|| {
            for (rank, part) in parts.iter().enumerate().filter(|(rank, _)| *rank != self.rank) {
                if !part.is_empty() {
                    nccl("ncclSend", comm.send(&values.slice(part.clone()), rank as i32))?;
                }
                if let Some(buffer) = received.get_mut(rank) {
                    nccl("ncclRecv", comm.recv(buffer, rank as i32))?;
                }
            }
            Ok(())
        })?;
        Ok(received)
    }

    /// The sum of the ranks' versions of a part, padded to `len` elements. Without versions it is all padding.
    fn sum_own_part(&self, versions: Vec<CudaSlice<f32>>, len: usize) -> Result<Tensor, DistributedError> {
        if versions.is_empty() {
            return Ok(Tensor::zeros(len, DType::F32, &Device::Cuda(self.device.clone()))?);
        }
        let versions = versions.into_iter().map(|version| tensor(version, &self.device)).collect();
        let sum = pairwise_tree(versions, &mut |left: &Tensor, right: &Tensor| left + right)?;
        let missing = len - sum.elem_count();
        Ok(if missing == 0 { sum } else { sum.pad_with_zeros(0, 0, missing)?.contiguous()? })
    }
}
