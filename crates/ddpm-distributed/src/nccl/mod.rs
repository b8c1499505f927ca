//! Jobs on NVIDIA GPUs, through NCCL.
//!
//! One thread of each process owns the NCCL communicator and a CUDA stream of its own. It enqueues the sums of buckets
//! one after the other; the stream that computes waits for them through events, and the host does not wait.
//!
//! With the feature `mpi` and under `mpirun` or `srun`, MPI carries everything but the sums, and long work of a rank is
//! waited for. Under `torchrun`, NCCL carries all, and [`Options::rank_timeout`] must exceed the longest work that one
//! rank does alone, such as writing a checkpoint.
//!
//! This code is type-checked on machines without a GPU. It has not been run yet.

mod bytes;
mod errors;
mod rendezvous;
mod sum;
mod thread;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use candle_core::{CudaDevice, DType, Device, Tensor};

use crate::bucket_parts::bucket_parts;
use crate::communicator::Communicator;
use crate::error::DistributedError;
use crate::launch::Launch;
use crate::long_work::LongWork;
use crate::member::Member;
use crate::options::Options;
use crate::pending_sum::PendingSum;
use errors::any_rank;
use rendezvous::Control;
use thread::{CommThread, Task};

/// The ranks of a job on GPUs, one GPU each.
pub struct Nccl {
    rank: usize,
    members: Vec<Member>,
    device: CudaDevice,
    tasks: mpsc::Sender<Task>,
    control: Option<Control>,
    rank_timeout: Duration,
    buckets: AtomicU64,
    finalized: AtomicBool,
}

impl fmt::Debug for Nccl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Nccl").field("rank", &self.rank).field("members", &self.members).finish_non_exhaustive()
    }
}

impl Nccl {
    /// Connects this process and its GPU with those of the other ranks.
    ///
    /// NCCL's id comes through MPI if there is, from `NCCL_COMM_ID=HOST:PORT` if it is set, or through a file: the one
    /// that `DDPM_NCCL_ID_FILE` names, or, if all ranks are on one host, one in the temporary directory.
    ///
    /// # Errors
    /// When `device` is not a GPU, the ranks cannot share an id, or one of them does not answer in time.
    pub fn connect(launch: &Launch, device: &Device, options: &Options) -> Result<Self, DistributedError> {
        let device = device.as_cuda_device()?.clone();
        let control = rendezvous::control(launch, options)?;
        let id = rendezvous::id(launch, control.as_ref(), options)?;
        let (tasks, received) = mpsc::channel();
        let (ready, connected) = mpsc::channel();
        let (ordinal, rank, size, timeout) =
            (device.cuda_stream().context().ordinal(), launch.rank, launch.size, options.rank_timeout);
        let hearing = control.clone();
        let hear = move || hearing.as_ref().and_then(rendezvous::last_sign_of_life);
        let run = move || match CommThread::new(ordinal, rank, size, id.value, timeout) {
            Ok(mut thread) => {
                let _ = ready.send(Ok(()));
                thread.work(&received, &hear);
            }
            Err(error) => {
                let _ = ready.send(Err(error));
            }
        };
        std::thread::Builder::new()
            .name("nccl".into())
            .spawn(run)
            .map_err(|error| DistributedError::library("NCCL", error))?;
        // ncclCommInitRank itself waits for the other ranks.
        connected.recv_timeout(timeout).map_err(|_| any_rank("the start of NCCL", timeout))??;
        id.remove_file();
        let (buckets, finalized) = (AtomicU64::new(0), AtomicBool::new(false));
        let mut nccl =
            Self { rank, members: Vec::new(), device, tasks, control, rank_timeout: timeout, buckets, finalized };
        nccl.members = nccl.meet(size)?;
        Ok(nccl)
    }

    /// Exchanges the names of hosts.
    fn meet(&self, size: usize) -> Result<Vec<Member>, DistributedError> {
        if let Some(control) = &self.control {
            return Ok(control.members().to_vec());
        }
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_else(|_| "an unknown host".into());
        let hosts = self.call("the names of hosts", move |thread| thread.all_gather(host.trim().as_bytes()))?;
        let hosts: Vec<_> = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
        let local_rank = |rank: usize| hosts[..rank].iter().filter(|host| **host == hosts[rank]).count();
        let member = |rank: usize| Member { host: hosts[rank].clone(), local_rank: local_rank(rank) };
        Ok((0..size).map(member).collect())
    }

    /// Queues `run` for the thread that owns NCCL.
    fn submit<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut CommThread) -> Result<T, DistributedError> + Send + 'static,
    ) -> Result<Reply<T>, DistributedError> {
        let (sender, answer) = mpsc::channel();
        let task: Task = Box::new(move |thread| {
            let _ = sender.send(run(thread));
        });
        self.tasks.send(task).map_err(|_| DistributedError::Ended { operation })?;
        Ok(Reply { operation, answer, control: self.control.clone(), timeout: self.rank_timeout })
    }

    fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut CommThread) -> Result<T, DistributedError> + Send + 'static,
    ) -> Result<T, DistributedError> {
        self.submit(operation, run)?.wait()
    }

    fn check(&self, bucket: &Tensor) -> Result<(), DistributedError> {
        let of_this_gpu = matches!(bucket.device(), Device::Cuda(device) if device.id() == self.device.id());
        if of_this_gpu && bucket.rank() == 1 && bucket.is_contiguous() && bucket.dtype() == DType::F32 {
            return Ok(());
        }
        let contiguous = if bucket.is_contiguous() { "" } else { "strided " };
        let location = bucket.device().location();
        let found = format!("{contiguous}{:?} {:?} on {location:?}", bucket.dtype(), bucket.shape());
        Err(DistributedError::Bucket { expected: "contiguous f32 values of one axis on the GPU of this rank", found })
    }
}

/// The answer of the thread.
struct Reply<T> {
    operation: &'static str,
    answer: mpsc::Receiver<Result<T, DistributedError>>,
    control: Option<Control>,
    timeout: Duration,
}

impl<T> Reply<T> {
    /// Waits for the answer. The thread itself may wait for other ranks when it sends to them for the first time.
    fn wait(self) -> Result<T, DistributedError> {
        let mut since = Instant::now();
        loop {
            match self.answer.recv_timeout(Duration::from_secs(1)) {
                Ok(answer) => return answer,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(DistributedError::Ended { operation: self.operation });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            since = since.max(self.control.as_ref().and_then(rendezvous::last_sign_of_life).unwrap_or(since));
            // The thread has deadlines of its own, which name the operation better.
            if since.elapsed() > self.timeout + Duration::from_secs(5) {
                return Err(any_rank(self.operation, since.elapsed()));
            }
        }
    }
}

impl Communicator for Nccl {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.members.len()
    }

    fn members(&self) -> &[Member] {
        &self.members
    }

    fn start_sum(&self, bucket: Tensor) -> Result<PendingSum, DistributedError> {
        self.check(&bucket)?;
        let elements = bucket.elem_count();
        if elements == 0 {
            return Ok(PendingSum::new(|| Ok(bucket)));
        }
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        // The result belongs to the stream that computes: its memory is allocated and freed in the order of that one.
        let part = bucket_parts(elements, self.size())[0].len();
        let result = self.device.alloc_zeros::<f32>(part * self.size())?;
        let ready =
            self.device.cuda_stream().record_event(None).map_err(|error| DistributedError::library("CUDA", error))?;
        let device = self.device.clone();
        let reply =
            self.submit("the sum of a bucket", move |thread| thread.sum(number, bucket, &ready, result, device))?;
        Ok(PendingSum::new(move || reply.wait()?.into_tensor(elements)))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, DistributedError> {
        match &self.control {
            Some(control) => control.broadcast(bytes),
            None => self.call("a broadcast", move |thread| thread.broadcast(bytes)),
        }
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DistributedError> {
        match &self.control {
            Some(control) => control.gather(bytes),
            None => self.call("a gather", move |thread| thread.gather(bytes)),
        }
    }

    fn barrier(&self) -> Result<(), DistributedError> {
        match &self.control {
            Some(control) => control.barrier(),
            None => self.call("a barrier", |thread| thread.all_gather(&[]).map(|_| ())),
        }
    }

    fn long_work(&self) -> LongWork {
        self.control.as_ref().map(|control| control.long_work()).unwrap_or_default()
    }

    fn abort(&self, exit_code: i32) -> ! {
        if let Some(control) = &self.control {
            control.abort(exit_code);
        }
        // The launcher ends the other ranks when this one has failed. CUDA may not let a process exit whose GPU waits
        // for a rank that is lost.
        std::thread::spawn(|| {
            std::thread::sleep(Duration::from_secs(2));
            std::process::abort();
        });
        std::process::exit(exit_code)
    }

    fn finalize(&self) -> Result<(), DistributedError> {
        self.barrier()?;
        self.call("the end of the job", |thread| {
            thread.close();
            Ok(())
        })?;
        if let Some(control) = &self.control {
            control.finalize()?;
        }
        self.finalized.store(true, Ordering::SeqCst);
        Ok(())
    }
}

impl Drop for Nccl {
    fn drop(&mut self) {
        // A connection that failed has no other rank to end.
        if !self.finalized.load(Ordering::SeqCst) && !self.members.is_empty() {
            tracing::error!(
                target: "ddpm_distributed",
                "rank {} drops its communicator before the job has ended", self.rank
            );
            self.abort(1);
        }
    }
}
