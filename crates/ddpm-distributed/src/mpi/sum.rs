//! The sum of a bucket over all ranks.

use candle_core::{CpuStorage, DType, Device, Storage, Tensor};

use super::operation::Operation;
use super::worker::Worker;
use crate::bucket_parts::bucket_parts;
use crate::error::DistributedError;
use crate::pairwise_sum::pairwise_sum_into;

/// Checks that `bucket` is a contiguous f32 tensor of one axis on the CPU.
pub(super) fn check(bucket: &Tensor) -> Result<(), DistributedError> {
    let one_axis = bucket.rank() == 1 && bucket.is_contiguous();
    if one_axis && bucket.dtype() == DType::F32 && bucket.device().is_cpu() {
        return Ok(());
    }
    let contiguous = if bucket.is_contiguous() { "" } else { "strided " };
    let found = format!("{contiguous}{:?} {:?} on {:?}", bucket.dtype(), bucket.shape(), bucket.device().location());
    Err(DistributedError::Bucket { expected: "contiguous f32 values of one axis on the CPU", found })
}

impl Worker {
    /// The sum of all ranks' buckets. Every rank sums one part of all buckets, in the order of
    /// [`pairwise_sum`](crate::pairwise_sum), and sends it to the others.
    pub(super) fn sum(&mut self, number: u64, bucket: Tensor) -> Result<Tensor, DistributedError> {
        let (storage, layout) = bucket.storage_and_layout();
        let (Storage::Cpu(CpuStorage::F32(values)), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else {
            let expected = "contiguous f32 values on the CPU";
            return Err(DistributedError::Bucket { expected, found: format!("{:?}", bucket.dtype()) });
        };
        let values = &values[from..to];
        self.trace(number, values.len(), "sending");
        let mut sum = vec![0.0; values.len()];
        let parts = bucket_parts(values.len(), self.size);
        self.sum_own_part(values, &parts, &mut sum[parts[self.rank].clone()]);
        self.exchange_sums(&parts, &mut sum);
        self.trace(number, values.len(), "complete");
        Ok(Tensor::from_vec(sum, values.len(), &Device::Cpu)?)
    }

    /// Sends each rank its part of `values`, and sums the parts that the others send.
    fn sum_own_part(&mut self, values: &[f32], parts: &[std::ops::Range<usize>], sum: &mut [f32]) {
        let own = parts[self.rank].clone();
        let mut received = std::mem::take(&mut self.received);
        received.resize(own.len() * (self.size - 1), 0.0);
        let outgoing = self.others().map(|rank| (rank, &values[parts[rank].clone()])).collect();
        self.exchange(Operation::SumParts, outgoing, self.others().zip(split(&mut received, own.len())).collect());
        let mut vectors: Vec<_> = (0..self.size - 1).map(|i| &received[i * own.len()..(i + 1) * own.len()]).collect();
        vectors.insert(self.rank, &values[own]);
        pairwise_sum_into(&vectors, sum);
        self.received = received;
    }

    /// Sends this rank's part of the sum to all others, and receives theirs.
    fn exchange_sums(&mut self, parts: &[std::ops::Range<usize>], mut sum: &mut [f32]) {
        let (mut own, mut incoming) = (&[][..], Vec::with_capacity(self.size));
        for (rank, part) in parts.iter().enumerate() {
            let (part, rest) = sum.split_at_mut(part.len());
            sum = rest;
            if rank == self.rank {
                own = part;
            } else {
                incoming.push((rank, part));
            }
        }
        self.exchange(Operation::SumResults, self.others().map(|rank| (rank, own)).collect(), incoming);
    }

    fn trace(&self, bucket: u64, elements: usize, what: &str) {
        let microseconds = self.shared.start.elapsed().as_micros() as u64;
        tracing::debug!(target: "ddpm_distributed", bucket, elements, microseconds, "{what}");
    }
}

/// Successive slices of `len` elements, which may be 0, without end.
fn split(mut values: &mut [f32], len: usize) -> impl Iterator<Item = &mut [f32]> {
    std::iter::from_fn(move || {
        let (part, rest) = std::mem::take(&mut values).split_at_mut_checked(len)?;
        values = rest;
        Some(part)
    })
}
