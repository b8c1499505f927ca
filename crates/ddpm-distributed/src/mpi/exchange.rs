//! Messages to and from several ranks at once, with a deadline.

use std::time::Instant;

use mpi::point_to_point::Status;
use mpi::request::{LocalScope, Request};
use mpi::traits::{Communicator as _, Destination as _, Equivalence, Source as _};

use super::back_off::BackOff;
use super::deadlines::Deadlines;
use super::operation::Operation;
use super::signs_of_life;
use super::worker::Worker;
use crate::error::DistributedError;

/// The messages to `rank` that are not sent yet.
struct Send<'a, 's, T> {
    rank: usize,
    /// The one that is being sent.
    request: Option<Request<'a, [T], &'s LocalScope<'a>>>,
    /// The next ones.
    pieces: std::vec::IntoIter<&'a [T]>,
}

/// The messages still to come from `rank`.
struct Receive<'a, 's, T> {
    rank: usize,
    /// The one that is being received.
    request: Option<Request<'a, [T], &'s LocalScope<'a>>>,
    /// The buffer of the next one.
    next: Option<&'a mut [T]>,
    /// The buffers of those after it.
    pieces: std::vec::IntoIter<&'a mut [T]>,
}

impl Worker {
    /// Sends the slices of `outgoing` to their ranks and fills those of `incoming` from theirs. Returns when all of
    /// this is done; if a rank is lost or out of step, the thread does not return, but answers with an error from
    /// then on.
    pub(super) fn exchange<'a, T: Equivalence>(
        &mut self,
        operation: Operation,
        outgoing: Vec<(usize, &'a [T])>,
        incoming: Vec<(usize, &'a mut [T])>,
    ) {
        mpi::request::scope(|scope| {
            let longest = self.options.message_elements;
            let mut sends: Vec<_> = outgoing.into_iter().map(|(rank, slice)| Send::new(rank, slice, longest)).collect();
            let mut receives: Vec<_> =
                incoming.into_iter().map(|(rank, slice)| Receive::new(rank, slice, longest)).collect();
            let mut deadlines = Deadlines::new(self.options.rank_timeout, self.size, Instant::now());
            let mut back_off = BackOff::default();
            loop {
                self.poll();
                let mut heard = self.advance_sends(scope, operation, &mut sends);
                heard.extend(self.advance_receives(scope, operation, &mut receives));
                heard.extend(self.signs_of_life(sends.iter().map(|send| send.rank)));
                if sends.is_empty() && receives.is_empty() {
                    return;
                }
                let now = Instant::now();
                heard.iter().for_each(|rank| deadlines.heard(*rank, now));
                let awaited = sends.iter().map(|send| send.rank).chain(receives.iter().map(|receive| receive.rank));
                if let Some((missing, silence)) = deadlines.missed(awaited, now) {
                    let missing = missing.into_iter().map(|rank| (rank, self.hosts[rank].clone())).collect();
                    let (operation, seconds) = (operation.to_string(), silence.as_secs_f64());
                    self.fail(&DistributedError::RankTimeout { operation, missing, seconds });
                }
                if heard.is_empty() { back_off.pause() } else { back_off.reset() }
            }
        });
    }

    /// Starts the next messages where the last one is sent, and returns the ranks of those.
    fn advance_sends<'a, 's, T: Equivalence>(
        &self,
        scope: &'s LocalScope<'a>,
        operation: Operation,
        sends: &mut Vec<Send<'a, 's, T>>,
    ) -> Vec<usize> {
        let mut heard = Vec::new();
        for send in sends.iter_mut() {
            match send.request.take().map(Request::test) {
                Some(Err(request)) => {
                    send.request = Some(request);
                    continue;
                }
                Some(Ok(_)) => heard.push(send.rank),
                None => {}
            }
            let process = self.world.process_at_rank(send.rank as i32);
            send.request =
                send.pieces.next().map(|piece| process.immediate_send_with_tag(scope, piece, operation.tag()));
        }
        sends.retain(|send| send.request.is_some());
        heard
    }

    /// Receives what has arrived, and returns the ranks that were heard.
    fn advance_receives<'a, 's, T: Equivalence>(
        &mut self,
        scope: &'s LocalScope<'a>,
        operation: Operation,
        receives: &mut Vec<Receive<'a, 's, T>>,
    ) -> Vec<usize> {
        let mut heard = Vec::new();
        for receive in receives.iter_mut() {
            if let Some(request) = receive.request.take() {
                match request.test() {
                    Err(request) => receive.request = Some(request),
                    Ok(_) => {
                        heard.push(receive.rank);
                        receive.next = receive.pieces.next();
                    }
                }
            }
            if signs_of_life::receive(&self.world, receive.rank) {
                heard.push(receive.rank);
            }
            let process = self.world.process_at_rank(receive.rank as i32);
            if receive.next.is_some()
                && let Some(status) = process.immediate_probe()
                && let Some(piece) = receive.next.take_if(|_| status.tag() != Operation::SignOfLife.tag())
            {
                self.check_message::<T>(operation, receive.rank, piece.len(), &status);
                heard.push(receive.rank);
                let process = self.world.process_at_rank(receive.rank as i32);
                receive.request = Some(process.immediate_receive_into_with_tag(scope, piece, operation.tag()));
            }
        }
        receives.retain(|receive| receive.request.is_some() || receive.next.is_some());
        heard
    }

    /// The ranks among `ranks` that say that they are still at work.
    fn signs_of_life(&self, ranks: impl Iterator<Item = usize>) -> Vec<usize> {
        ranks.filter(|rank| signs_of_life::receive(&self.world, *rank)).collect()
    }

    /// Fails unless the message that has arrived is the one that is expected.
    fn check_message<T: Equivalence>(&mut self, operation: Operation, rank: usize, elements: usize, status: &Status) {
        let (expected, found) = match Operation::of_tag(status.tag()) {
            // The count is only defined for elements of the expected type.
            Some(found) if found == operation => match status.count(T::equivalent_datatype()) {
                count if usize::try_from(count) == Ok(elements) => return,
                count => (format!("{operation} ({elements} elements)"), format!("{count} elements")),
            },
            Some(found) => (operation.to_string(), found.to_string()),
            None => (operation.to_string(), format!("an unknown message {}", status.tag())),
        };
        let host = self.hosts[rank].clone();
        self.fail(&DistributedError::OutOfStep { rank, host, expected, found });
    }
}

impl<'a, T> Send<'a, '_, T> {
    /// The messages of `slice`, in pieces of at most `longest` elements. An empty slice is a message as well, so that
    /// ranks with other lengths are noticed.
    fn new(rank: usize, slice: &'a [T], longest: usize) -> Self {
        let pieces: Vec<_> = if slice.is_empty() { vec![slice] } else { slice.chunks(longest).collect() };
        Self { rank, request: None, pieces: pieces.into_iter() }
    }
}

impl<'a, T> Receive<'a, '_, T> {
    /// The messages that fill `slice`, as [`Send::new`] cuts it.
    fn new(rank: usize, slice: &'a mut [T], longest: usize) -> Self {
        let pieces: Vec<_> = if slice.is_empty() { vec![slice] } else { slice.chunks_mut(longest).collect() };
        let mut pieces = pieces.into_iter();
        Self { rank, request: None, next: pieces.next(), pieces }
    }
}
