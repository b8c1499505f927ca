//! What the thread that owns MPI is asked to do, and its answers.

use std::fmt;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use super::shared::Shared;
use crate::error::DistributedError;

/// What the thread receives.
#[derive(Debug)]
pub(super) enum Message<W> {
    Job(Job<W>),
    /// Look at [`Shared`].
    Wake,
}

/// Something to do on the thread, whose state is a `W`, with two ways to answer.
pub(super) struct Job<W> {
    /// Does it and answers.
    pub(super) run: Box<dyn FnOnce(&mut W) + Send>,
    /// Answers with an error, instead of `run` or from within it.
    pub(super) refuse: Box<dyn FnOnce(DistributedError) + Send>,
}

impl<W> fmt::Debug for Job<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

/// The answer to a job.
#[derive(Debug)]
pub(super) struct Reply<T> {
    operation: &'static str,
    answer: mpsc::Receiver<Result<T, DistributedError>>,
    shared: Arc<Shared>,
}

/// A job that answers with what `run` returns.
pub(super) fn new<W, T: Send + 'static>(
    operation: &'static str,
    shared: Arc<Shared>,
    run: impl FnOnce(&mut W) -> Result<T, DistributedError> + Send + 'static,
) -> (Job<W>, Reply<T>) {
    let (sender, answer) = mpsc::channel();
    let refusal = sender.clone();
    // Whoever does not wait for an answer, does not need it.
    let job = Job {
        run: Box::new(move |worker| {
            let _ = sender.send(run(worker));
        }),
        refuse: Box::new(move |error| {
            let _ = refusal.send(Err(error));
        }),
    };
    (job, Reply { operation, answer, shared })
}

impl<T> Reply<T> {
    /// Waits for the answer. The deadlines are those of the thread; this one only watches that the thread itself is not
    /// stuck in a call of the library.
    pub(super) fn wait(self) -> Result<T, DistributedError> {
        let (mut polls, mut since) = (self.shared.polls(), Instant::now());
        loop {
            match self.answer.recv_timeout(Duration::from_millis(500)) {
                Ok(answer) => return answer,
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(DistributedError::Ended { operation: self.operation });
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
            }
            if self.shared.polls() != polls {
                (polls, since) = (self.shared.polls(), Instant::now());
            } else if since.elapsed() > self.shared.rank_timeout {
                let seconds = since.elapsed().as_secs_f64();
                return Err(DistributedError::library(
                    "MPI",
                    format!("no call has returned for {seconds:.0} s, during {}", self.operation),
                ));
            }
        }
    }
}
