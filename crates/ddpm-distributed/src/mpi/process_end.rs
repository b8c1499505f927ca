//! The end of a process whose job has not ended.
#![allow(unsafe_code, reason = "the C library is asked to call a function when the process exits")]

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use super::shared::Shared;

/// The exit code of a job in which a process ends without [`Communicator::finalize`](crate::Communicator::finalize).
pub(super) const UNFINISHED: i32 = 1;

/// The time in which a launcher forwards what a process has printed before it ends the process.
const OUTPUT_GRACE: Duration = Duration::from_millis(200);

/// What ends the job of this process.
#[derive(Clone)]
pub(super) struct JobEnd {
    pub(super) shared: Arc<Shared>,
    /// Makes the thread that owns MPI look at `shared`.
    pub(super) wake: Arc<dyn Fn() + Send + Sync>,
    /// The thread that owns MPI.
    pub(super) thread: ThreadId,
    /// The rank and the host of this process.
    pub(super) name: String,
}

impl fmt::Debug for JobEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobEnd").field("shared", &self.shared).field("name", &self.name).finish_non_exhaustive()
    }
}

static OF_THIS_PROCESS: OnceLock<JobEnd> = OnceLock::new();

impl JobEnd {
    /// Makes `exit` end the job unless it is finalized.
    ///
    /// Some launchers take the exit of one rank with code 0 for the success of the job, and end the others.
    pub(super) fn watch_exit(self) {
        if OF_THIS_PROCESS.set(self).is_ok() {
            // SAFETY: the function is valid for the whole life of the process and takes no argument. It does not
            // unwind: a panic in a function that C calls ends the process.
            let failed = unsafe { libc::atexit(end_unfinished_job) };
            debug_assert_eq!(failed, 0, "the C library has room for at least 32 functions");
        }
    }

    /// Ends the job because of `event`, which is logged.
    pub(super) fn end_unfinished(&self, event: &'static str) {
        // In a thread of its own, because `exit` has destroyed the variables of the current one that the log may need.
        let name = self.name.clone();
        let log = move || tracing::error!(target: "ddpm_distributed", "{name} {event} before the job has ended");
        let _ = std::thread::spawn(log).join();
        self.end(UNFINISHED);
    }

    /// Ends the job with `exit_code`, or the code of an earlier call. Does not return unless this is the thread that
    /// owns MPI.
    pub(super) fn end(&self, exit_code: i32) {
        std::thread::sleep(OUTPUT_GRACE);
        self.shared.request_abort(exit_code);
        if std::thread::current().id() == self.thread {
            return;
        }
        (self.wake)();
        // The thread reacts within milliseconds unless it has ended or hangs in the library. MPI_Abort then takes the
        // time that the launcher needs.
        std::thread::sleep(Duration::from_secs(2));
        if self.shared.is_aborting() {
            std::thread::sleep(Duration::from_secs(8));
        }
        std::process::abort();
    }
}

extern "C" fn end_unfinished_job() {
    if let Some(job) = OF_THIS_PROCESS.get()
        && !job.shared.is_finalized()
        && std::thread::current().id() != job.thread
    {
        job.end_unfinished("exits");
    }
}
