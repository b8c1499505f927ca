//! What the thread that owns MPI shares with the threads that use it.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Requests to the thread that owns MPI, and its state.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) rank_timeout: Duration,
    /// When this process connected: the origin of the times in trace events.
    pub(super) start: Instant,
    abort_code: OnceLock<i32>,
    aborting: AtomicBool,
    finalized: AtomicBool,
    works_in_progress: AtomicUsize,
    polls: AtomicU64,
}

impl Shared {
    pub(super) fn new(rank_timeout: Duration) -> Self {
        Self {
            rank_timeout,
            start: Instant::now(),
            abort_code: OnceLock::new(),
            aborting: AtomicBool::new(false),
            finalized: AtomicBool::new(false),
            works_in_progress: AtomicUsize::new(0),
            polls: AtomicU64::new(0),
        }
    }

    /// Asks the thread to end the job. The exit code of the first request counts.
    pub(super) fn request_abort(&self, exit_code: i32) {
        self.abort_code.get_or_init(|| exit_code);
    }

    /// The exit code with which the job is to end now.
    pub(super) fn abort_requested(&self) -> Option<i32> {
        self.abort_code.get().copied()
    }

    /// The thread has seen the request.
    pub(super) fn set_aborting(&self) {
        self.aborting.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_aborting(&self) -> bool {
        self.aborting.load(Ordering::SeqCst)
    }

    pub(super) fn set_finalized(&self) {
        self.finalized.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_finalized(&self) -> bool {
        self.finalized.load(Ordering::SeqCst)
    }

    /// Whether the other ranks are to be told that this one is still at work.
    pub(super) fn is_in_long_work(&self) -> bool {
        self.works_in_progress.load(Ordering::SeqCst) > 0
    }

    /// The thread is not stuck in the library.
    pub(super) fn count_poll(&self) {
        self.polls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn polls(&self) -> u64 {
        self.polls.load(Ordering::Relaxed)
    }
}

/// One piece of long work; it ends on drop.
#[derive(Debug)]
pub(super) struct WorkInProgress(Arc<Shared>);

impl WorkInProgress {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        shared.works_in_progress.fetch_add(1, Ordering::SeqCst);
        Self(shared)
    }
}

impl Drop for WorkInProgress {
    fn drop(&mut self) {
        self.0.works_in_progress.fetch_sub(1, Ordering::SeqCst);
    }
}
