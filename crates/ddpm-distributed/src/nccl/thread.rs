//! The thread that owns the NCCL communicator.

use std::collections::VecDeque;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use candle_core::cuda_backend::cudarc::driver::{CudaEvent, CudaStream};
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, group_end, group_start};
use candle_core::{CudaDevice, Tensor};

use super::errors::{any_rank, cuda, nccl};
use crate::error::DistributedError;

/// Something to do on the thread.
pub(super) type Task = Box<dyn FnOnce(&mut CommThread) + Send>;

/// The time between two looks at the sums in progress.
const LOOK: Duration = Duration::from_millis(1);

/// The state of the thread.
pub(super) struct CommThread {
    /// None once the job has ended or failed.
    comm: Option<Comm>,
    failure: Option<DistributedError>,
    /// The GPU with the communication's stream.
    pub(super) device: CudaDevice,
    pub(super) rank: usize,
    pub(super) size: usize,
    pub(super) start: Instant,
    timeout: Duration,
    in_progress: VecDeque<InProgress>,
}

/// A sum that the stream has not completed.
pub(super) struct InProgress {
    pub(super) number: u64,
    pub(super) done: Arc<CudaEvent>,
    /// Kept until the sum is complete, because its memory would otherwise be used again while it is being read.
    pub(super) bucket: Tensor,
    pub(super) since: Instant,
}

impl CommThread {
    /// Connects with the other ranks, and waits for them.
    pub(super) fn new(
        ordinal: usize,
        rank: usize,
        size: usize,
        id: Id,
        timeout: Duration,
    ) -> Result<Self, DistributedError> {
        let device = CudaDevice::new_with_stream(ordinal)?;
        let comm = nccl("ncclCommInitRank", Comm::from_rank(device.cuda_stream(), rank, size, id))?;
        let (comm, failure, in_progress) = (Some(comm), None, VecDeque::new());
        Ok(Self { comm, failure, device, rank, size, start: Instant::now(), timeout, in_progress })
    }

    /// Does one task after the other, and watches the sums in progress. `hear` says when a rank
    /// has last said that it is still at work.
    pub(super) fn work(&mut self, tasks: &mpsc::Receiver<Task>, hear: &dyn Fn() -> Option<Instant>) {
        let mut heard = Instant::now();
        let mut asked = Instant::now();
        loop {
            let task = if self.in_progress.is_empty() {
                tasks.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected)
            } else {
                tasks.recv_timeout(LOOK)
            };
            match task {
                Ok(task) => task(self),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if !self.in_progress.is_empty() && asked.elapsed() > Duration::from_secs(1) {
                asked = Instant::now();
                heard = hear().unwrap_or(heard);
            }
            self.look_after_sums(heard);
        }
    }

    /// Forgets sums that are complete, and fails if the next one takes too long.
    fn look_after_sums(&mut self, heard: Instant) {
        while let Some(sum) = self.in_progress.front() {
            match sum.done.try_is_complete() {
                Ok(true) => {
                    self.trace(sum.number, sum.bucket.elem_count(), "complete");
                    self.in_progress.pop_front();
                    if let Some(next) = self.in_progress.front_mut() {
                        next.since = Instant::now();
                    }
                }
                Ok(false) if sum.since.max(heard).elapsed() < self.timeout => return,
                Ok(false) => {
                    let error = any_rank(format!("bucket {}", sum.number), sum.since.max(heard).elapsed());
                    return self.fail(error);
                }
                Err(error) => return self.fail(cuda("a sum", error)),
            }
        }
    }

    /// Ends NCCL's kernels, so that the stream that computes does not wait any longer; every later task fails.
    pub(super) fn fail(&mut self, error: DistributedError) {
        tracing::error!(target: "ddpm_distributed", "{error}");
        self.failure = Some(error);
        self.close();
    }

    /// Ends the communicator.
    pub(super) fn close(&mut self) {
        self.comm = None;
        self.in_progress.clear();
    }

    /// The communicator and its stream.
    pub(super) fn comm(&self) -> Result<(&Comm, Arc<CudaStream>), DistributedError> {
        match (&self.comm, &self.failure) {
            (Some(comm), _) => Ok((comm, self.device.cuda_stream())),
            (None, Some(failure)) => Err(failure.clone()),
            (None, None) => Err(DistributedError::Ended { operation: "a task of NCCL" }),
        }
    }

    pub(super) fn keep_until_done(&mut self, sum: InProgress) {
        self.in_progress.push_back(sum);
    }

    /// Waits on the host until the stream has done all that was enqueued.
    pub(super) fn wait(&mut self, operation: &'static str) -> Result<(), DistributedError> {
        let done = self.device.cuda_stream().record_event(None).map_err(|error| cuda(operation, error))?;
        let start = Instant::now();
        loop {
            match done.try_is_complete() {
                Ok(true) => return Ok(()),
                Ok(false) if start.elapsed() < self.timeout => std::thread::sleep(LOOK),
                Ok(false) => {
                    let error = any_rank(operation, start.elapsed());
                    self.fail(error.clone());
                    return Err(error);
                }
                Err(error) => return Err(cuda(operation, error)),
            }
        }
    }

    pub(super) fn trace(&self, bucket: u64, elements: usize, what: &str) {
        let microseconds = self.start.elapsed().as_micros() as u64;
        tracing::debug!(target: "ddpm_distributed", bucket, elements, microseconds, "{what}");
    }
}

/// What `calls` enqueue is done at once: sends and receives that wait for each other.
pub(super) fn grouped(calls: impl FnOnce() -> Result<(), DistributedError>) -> Result<(), DistributedError> {
    nccl("ncclGroupStart", group_start())?;
    let called = calls();
    // A group that has begun must end, whatever has happened.
    let ended = nccl("ncclGroupEnd", group_end());
    called.and(ended.map(|_| ()))
}
