//! Jobs on CPUs, through MPI.
//!
//! One thread of each process owns MPI ([`Worker`]). It takes jobs from a queue, one after the other, and polls while
//! messages are under way, so that no MPI call ever blocks: a rank that has ended cannot keep another one waiting
//! beyond its deadline.

mod back_off;
mod collectives;
mod deadlines;
mod exchange;
mod job;
mod operation;
mod process_end;
mod shared;
mod signs_of_life;
mod sum;
mod worker;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use candle_core::Tensor;

use crate::communicator::Communicator;
use crate::error::DistributedError;
use crate::launch::Launch;
use crate::long_work::LongWork;
use crate::member::Member;
use crate::options::Options;
use crate::pending_sum::PendingSum;
use job::{Message, Reply};
use process_end::JobEnd;
use shared::{Shared, WorkInProgress};
use worker::Worker;

/// The ranks of a job on CPUs.
///
/// If it is dropped or the process exits before [`Communicator::finalize`] has returned, the whole job ends with exit
/// code 1.
#[derive(Debug)]
pub struct Mpi {
    rank: usize,
    members: Vec<Member>,
    messages: mpsc::Sender<Message<Worker>>,
    job: JobEnd,
    buckets: AtomicU64,
}

impl Mpi {
    /// Initializes MPI and meets the other ranks. At most once per process.
    ///
    /// # Errors
    /// When the MPI library reports another number of processes than the launcher, does not initialize in time, or a
    /// rank does not answer.
    pub fn connect(launch: &Launch, options: &Options) -> Result<Self, DistributedError> {
        let (messages, received) = mpsc::channel();
        let shared = Arc::new(Shared::new(options.rank_timeout));
        let (joined, initialized) = mpsc::channel();
        let thread = {
            let (shared, launch, options) = (shared.clone(), launch.clone(), options.clone());
            let run = move || worker::run(&launch, options, shared, received, &joined);
            std::thread::Builder::new()
                .name("mpi".into())
                .spawn(run)
                .map_err(|error| DistributedError::library("MPI", error))?
        };
        // MPI_Init itself waits for the other ranks, and nothing can end it.
        let rank = initialized.recv_timeout(options.rank_timeout).map_err(|_| {
            let seconds = options.rank_timeout.as_secs_f64();
            DistributedError::library(
                "MPI",
                format!("MPI_Init has not returned for {seconds:.0} s: not all ranks have called it"),
            )
        })??;
        let wake = messages.clone();
        let wake = Arc::new(move || drop(wake.send(Message::Wake)));
        let job = JobEnd { shared, wake, thread: thread.thread().id(), name: format!("rank {rank}") };
        let mut mpi = Self { rank, members: Vec::new(), messages, job, buckets: AtomicU64::new(0) };
        mpi.members = mpi.call("the names of hosts", Worker::meet)?;
        mpi.job.name = format!("rank {rank} on {}", mpi.members[rank].host);
        mpi.job.clone().watch_exit();
        Ok(mpi)
    }

    /// When a rank has last said that it is still at work. Not collective, and does not wait for other ranks.
    #[cfg(feature = "nccl")]
    pub(crate) fn last_sign_of_life(&self) -> Option<std::time::Instant> {
        self.call("a look for signs of life", |worker| Ok(worker.look_for_signs_of_life())).unwrap_or(None)
    }

    /// Queues `run` for the thread that owns MPI.
    fn submit<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Worker) -> Result<T, DistributedError> + Send + 'static,
    ) -> Result<Reply<T>, DistributedError> {
        let (job, reply) = job::new(operation, self.job.shared.clone(), run);
        self.messages.send(Message::Job(job)).map_err(|_| DistributedError::Ended { operation })?;
        Ok(reply)
    }

    /// [`Mpi::submit`], and waits.
    fn call<T: Send + 'static>(
        &self,
        operation: &'static str,
        run: impl FnOnce(&mut Worker) -> Result<T, DistributedError> + Send + 'static,
    ) -> Result<T, DistributedError> {
        self.submit(operation, run)?.wait()
    }
}

impl Communicator for Mpi {
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
        sum::check(&bucket)?;
        let number = self.buckets.fetch_add(1, Ordering::Relaxed);
        let reply = self.submit("the sum of a bucket", move |worker| worker.sum(number, bucket))?;
        Ok(PendingSum::new(move || reply.wait()))
    }

    fn broadcast(&self, bytes: Vec<u8>) -> Result<Vec<u8>, DistributedError> {
        self.call("a broadcast", move |worker| Ok(worker.broadcast(bytes)))
    }

    fn gather(&self, bytes: Vec<u8>) -> Result<Option<Vec<Vec<u8>>>, DistributedError> {
        self.call("a gather", move |worker| Ok(worker.gather(bytes)))
    }

    fn barrier(&self) -> Result<(), DistributedError> {
        self.call("a barrier", |worker| {
            worker.barrier();
            Ok(())
        })
    }

    fn long_work(&self) -> LongWork {
        let work = WorkInProgress::new(self.job.shared.clone());
        // The thread may be asleep. Should it have ended, then nobody waits for signs of life.
        (self.job.wake)();
        LongWork::until_dropped(work)
    }

    fn abort(&self, exit_code: i32) -> ! {
        if !self.job.shared.is_finalized() {
            self.job.end(exit_code);
            // Only the thread that owns MPI comes here.
            worker::abort(&self.job.shared, exit_code);
        }
        std::process::exit(exit_code);
    }

    fn finalize(&self) -> Result<(), DistributedError> {
        self.call("the end of the job", |worker| {
            worker.finalize();
            Ok(())
        })
    }
}

impl Drop for Mpi {
    fn drop(&mut self) {
        // A connection that failed has no other rank to end.
        if !self.job.shared.is_finalized() && !self.members.is_empty() {
            self.job.end_unfinished("drops its communicator");
        }
    }
}
