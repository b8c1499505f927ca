//! Bytes of the host, sent between GPUs. Only for jobs without MPI.

use candle_core::cuda_backend::cudarc::driver::CudaSlice;

use super::errors::{cuda, nccl};
use super::thread::{CommThread, grouped};
use crate::error::DistributedError;

impl CommThread {
    fn upload(&self, bytes: &[u8]) -> Result<CudaSlice<u8>, DistributedError> {
        self.device.cuda_stream().clone_htod(bytes).map_err(|error| cuda("a copy to the GPU", error))
    }

    fn buffer(&self, len: usize) -> Result<CudaSlice<u8>, DistributedError> {
        self.device.cuda_stream().alloc_zeros(len).map_err(|error| cuda("cuMemAllocAsync", error))
    }

    /// Waits until `buffer` is filled, and reads it.
    fn download(&mut self, operation: &'static str, buffer: &CudaSlice<u8>) -> Result<Vec<u8>, DistributedError> {
        // The copy blocks, so it begins when all that precedes it is done.
        self.wait(operation)?;
        self.device.cuda_stream().clone_dtoh(buffer).map_err(|error| cuda("a copy from the GPU", error))
    }

    /// The length of every rank's bytes. Waits for all ranks.
    fn lengths(&mut self, operation: &'static str, length: usize) -> Result<Vec<usize>, DistributedError> {
        let own = self.upload(&(length as u64).to_le_bytes())?;
        let mut all = self.buffer(8 * self.size)?;
        nccl("ncclAllGather", self.comm()?.0.all_gather(&own, &mut all))?;
        let bytes = self.download(operation, &all)?;
        Ok(bytes.as_chunks().0.iter().map(|length| u64::from_le_bytes(*length) as usize).collect())
    }

    /// The bytes of every rank, on every rank.
    pub(super) fn all_gather(&mut self, bytes: &[u8]) -> Result<Vec<Vec<u8>>, DistributedError> {
        let lengths = self.lengths("a gather", bytes.len())?;
        let Some(longest) = lengths.iter().copied().max().filter(|longest| *longest > 0) else {
            return Ok(vec![Vec::new(); self.size]);
        };
        let mut padded = bytes.to_vec();
        padded.resize(longest, 0);
        let own = self.upload(&padded)?;
        let mut all = self.buffer(longest * self.size)?;
        nccl("ncclAllGather", self.comm()?.0.all_gather(&own, &mut all))?;
        let all = self.download("a gather", &all)?;
        Ok(all.chunks(longest).zip(lengths).map(|(bytes, length)| bytes[..length].to_vec()).collect())
    }

    /// The bytes of rank 0.
    pub(super) fn broadcast(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, DistributedError> {
        let length = self.lengths("a broadcast", bytes.len())?[0];
        if length == 0 {
            return Ok(Vec::new());
        }
        let mut buffer = if self.rank == 0 { self.upload(&bytes)? } else { self.buffer(length)? };
        nccl("ncclBroadcast", self.comm()?.0.broadcast_in_place(&mut buffer, 0))?;
        self.download("a broadcast", &buffer)
    }

    /// The bytes of every rank, on rank 0.
    pub(super) fn gather(&mut self, bytes: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DistributedError> {
        let lengths = self.lengths("a gather", bytes.len())?;
        if self.rank != 0 {
            if !bytes.is_empty() {
                let own = self.upload(&bytes)?;
                grouped(|| nccl("ncclSend", self.comm()?.0.send(&own, 0)))?;
                self.wait("a gather")?;
            }
            return Ok(None);
        }
        let mut buffers = lengths.iter().map(|length| self.buffer((*length).max(1))).collect::<Result<Vec<_>, _>>()?;
        grouped(|| {
            let (comm, _) = self.comm()?;
            for (rank, buffer) in buffers.iter_mut().enumerate().skip(1).filter(|(rank, _)| lengths[*rank] > 0) {
                nccl("ncclRecv", comm.recv(buffer, rank as i32))?;
            }
            Ok(())
        })?;
        let mut all = vec![bytes];
        for (buffer, length) in buffers.iter().zip(lengths).skip(1) {
            let bytes = self.download("a gather", buffer)?;
            all.push(bytes[..length].to_vec());
        }
        Ok(Some(all))
    }
}
