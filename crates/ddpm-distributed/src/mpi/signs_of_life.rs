//! Messages that say "still at work".

use std::time::{Duration, Instant};

use mpi::request::{Request, StaticScope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator as _, Destination as _, Source as _};

use super::operation::Operation;

/// Empty messages to all other ranks, sent while this rank is in long work.
///
/// A rank that is stopped or has ended sends none, and is missed.
pub(super) struct SignsOfLife {
    /// The time between two of them.
    pub(super) period: Duration,
    sent: Option<Instant>,
    /// The last message to each rank, unless it is known to be under way. At most one is pending, should a rank not
    /// receive for a long time.
    pending: Vec<Option<Request<'static, [u8], StaticScope>>>,
}

impl SignsOfLife {
    /// Often enough that ten may be lost within the time that other ranks wait.
    pub(super) fn new(rank_timeout: Duration, ranks: usize) -> Self {
        let period = (rank_timeout / 10).min(Duration::from_secs(5));
        Self { period, sent: None, pending: (0..ranks).map(|_| None).collect() }
    }

    /// Sends one to every other rank if it is time to.
    pub(super) fn send(&mut self, world: &SimpleCommunicator, own_rank: usize) {
        if self.sent.is_some_and(|sent| sent.elapsed() < self.period) {
            return;
        }
        self.sent = Some(Instant::now());
        for (rank, pending) in self.pending.iter_mut().enumerate().filter(|(rank, _)| *rank != own_rank) {
            *pending = match pending.take().map(Request::test) {
                Some(Err(request)) => Some(request),
                None | Some(Ok(_)) => {
                    let process = world.process_at_rank(rank as i32);
                    Some(process.immediate_send_with_tag(StaticScope, &[0u8; 0][..], Operation::SignOfLife.tag()))
                }
            };
        }
    }

    /// Gives up what is still pending when the job ends.
    pub(super) fn end(&mut self) {
        for request in self.pending.iter_mut().filter_map(Option::take) {
            if let Err(request) = request.test() {
                // Its buffer is static and empty, so nothing dangles.
                std::mem::forget(request);
            }
        }
    }
}

/// Receives all signs of life that have arrived from `rank`; whether there were any.
pub(super) fn receive(world: &SimpleCommunicator, rank: usize) -> bool {
    let process = world.process_at_rank(rank as i32);
    let tag = Operation::SignOfLife.tag();
    let mut any = false;
    while process.immediate_probe_with_tag(tag).is_some() {
        // This does not wait: the message has arrived, and it is empty.
        process.receive_into_with_tag(&mut [0u8; 0][..], tag);
        any = true;
    }
    any
}
