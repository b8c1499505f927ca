//! The thread that owns MPI.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, mpsc};

use mpi::Threading;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::Communicator as _;

use super::job::Message;
use super::operation::Operation;
use super::process_end::UNFINISHED;
use super::shared::Shared;
use super::signs_of_life::SignsOfLife;
use crate::error::DistributedError;
use crate::launch::Launch;
use crate::member::Member;
use crate::options::Options;

/// The exit code of a job that a panic of this thread ends, that of Rust's programs.
const PANICKED: i32 = 101;

/// The state of the thread.
pub(super) struct Worker {
    pub(super) world: SimpleCommunicator,
    pub(super) rank: usize,
    pub(super) size: usize,
    pub(super) hosts: Vec<String>,
    pub(super) options: Options,
    pub(super) shared: Arc<Shared>,
    /// The parts of a bucket that other ranks send; kept, because fresh memory is slow.
    pub(super) received: Vec<f32>,
    signs_of_life: SignsOfLife,
    messages: mpsc::Receiver<Message<Worker>>,
    /// Answers the job in progress with an error.
    refuse: Option<Box<dyn FnOnce(DistributedError) + Send>>,
    /// None once MPI is finalized.
    universe: Option<Universe>,
    /// When [`Worker::look_for_signs_of_life`] last found one.
    #[cfg(feature = "nccl")]
    last_sign_of_life: Option<std::time::Instant>,
}

/// Initializes MPI, reports this process's rank to `joined`, and works until the job ends.
pub(super) fn run(
    launch: &Launch,
    options: Options,
    shared: Arc<Shared>,
    messages: mpsc::Receiver<Message<Worker>>,
    joined: &mpsc::Sender<Result<usize, DistributedError>>,
) {
    match Worker::new(launch, options, shared, messages) {
        Err(error) => {
            let _ = joined.send(Err(error));
        }
        Ok(mut worker) => {
            let _ = joined.send(Ok(worker.rank));
            if std::panic::catch_unwind(AssertUnwindSafe(|| worker.work())).is_err() {
                abort(&worker.shared, PANICKED);
            }
        }
    }
}

/// Ends all processes of the job. Only the thread that owns MPI may call it.
pub(super) fn abort(shared: &Shared, exit_code: i32) -> ! {
    shared.set_aborting();
    SimpleCommunicator::world().abort(exit_code)
}

impl Worker {
    fn new(
        launch: &Launch,
        options: Options,
        shared: Arc<Shared>,
        messages: mpsc::Receiver<Message<Worker>>,
    ) -> Result<Self, DistributedError> {
        // Only this thread calls MPI.
        let universe = mpi::initialize_with_threading(Threading::Funneled);
        let (universe, _) =
            universe.ok_or_else(|| DistributedError::library("MPI", "this process has initialized it before"))?;
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        if size != launch.size {
            let version = mpi::environment::library_version().unwrap_or_default();
            let library = version.lines().next().unwrap_or("an unknown library").split(',').next().unwrap_or_default();
            let library = library.split_whitespace().collect::<Vec<_>>().join(" ");
            return Err(DistributedError::LibraryMismatch {
                launcher: launch.launcher,
                expected: launch.size,
                found: size,
                library,
            });
        }
        let signs_of_life = SignsOfLife::new(options.rank_timeout, size);
        let hosts = vec!["an unknown host".into(); size];
        Ok(Self {
            world,
            rank,
            size,
            hosts,
            options,
            shared,
            received: Vec::new(),
            signs_of_life,
            messages,
            refuse: None,
            universe: Some(universe),
            #[cfg(feature = "nccl")]
            last_sign_of_life: None,
        })
    }

    /// Works on one job after the other until MPI is finalized.
    fn work(&mut self) {
        while self.universe.is_some() {
            let message = if self.shared.is_in_long_work() {
                match self.messages.recv_timeout(self.signs_of_life.period) {
                    Err(mpsc::RecvTimeoutError::Timeout) => Ok(Message::Wake),
                    Err(mpsc::RecvTimeoutError::Disconnected) => Err(mpsc::RecvError),
                    Ok(message) => Ok(message),
                }
            } else {
                self.messages.recv()
            };
            self.poll();
            match message {
                Ok(Message::Wake) => {}
                Ok(Message::Job(job)) => {
                    self.refuse = Some(job.refuse);
                    (job.run)(self);
                }
                Err(mpsc::RecvError) => abort(&self.shared, UNFINISHED),
            }
        }
    }

    /// What is to be done at any time: end the job if asked to, and say that this rank is still at work.
    pub(super) fn poll(&mut self) {
        self.shared.count_poll();
        if let Some(exit_code) = self.shared.abort_requested() {
            abort(&self.shared, exit_code);
        }
        if self.shared.is_in_long_work() {
            self.signs_of_life.send(&self.world, self.rank);
        }
    }

    /// Answers the job in progress and all later ones with `error` until the job is aborted. Does not return, because
    /// messages whose buffers must stay where they are may still be under way.
    pub(super) fn fail(&mut self, error: &DistributedError) -> ! {
        if let Some(refuse) = self.refuse.take() {
            refuse(error.clone());
        }
        loop {
            let message = self.messages.recv();
            self.shared.count_poll();
            if let Some(exit_code) = self.shared.abort_requested() {
                abort(&self.shared, exit_code);
            }
            match message {
                Ok(Message::Wake) => {}
                Ok(Message::Job(job)) => (job.refuse)(error.clone()),
                Err(mpsc::RecvError) => abort(&self.shared, UNFINISHED),
            }
        }
    }

    /// Receives the signs of life that have arrived, and returns when that last happened.
    #[cfg(feature = "nccl")]
    pub(super) fn look_for_signs_of_life(&mut self) -> Option<std::time::Instant> {
        let received = self.others().map(|rank| super::signs_of_life::receive(&self.world, rank));
        if received.fold(false, |any, received| any | received) {
            self.last_sign_of_life = Some(std::time::Instant::now());
        }
        self.last_sign_of_life
    }

    /// Exchanges the names of hosts.
    pub(super) fn meet(&mut self) -> Result<Vec<Member>, DistributedError> {
        let host = mpi::environment::processor_name().unwrap_or_else(|_| "an unknown host".into());
        let hosts = self.all_gather(Operation::Meeting, host.as_bytes());
        self.hosts = hosts.iter().map(|host| String::from_utf8_lossy(host).into_owned()).collect();
        let local_rank = |rank: usize| self.hosts[..rank].iter().filter(|host| **host == self.hosts[rank]).count();
        let member = |rank: usize| Member { host: self.hosts[rank].clone(), local_rank: local_rank(rank) };
        Ok((0..self.size).map(member).collect())
    }

    /// Waits for all ranks and finalizes MPI.
    pub(super) fn finalize(&mut self) {
        self.meet_all(Operation::End);
        self.signs_of_life.end();
        self.universe = None;
        self.shared.set_finalized();
    }
}
