//! The pauses between polls.

use std::time::Duration;

/// Polls that follow each other without a pause after something has happened.
const IMMEDIATE_POLLS: u32 = 16;
/// The first pause. The kernel adds about 50 µs of its own.
const SHORTEST: Duration = Duration::from_micros(10);
/// The longest pause of a short wait. It bounds both the delay of a message and the time taken from threads that
/// compute.
const LONGEST: Duration = Duration::from_micros(200);
/// The pauses after which a wait is long: about 15 ms.
const LONG_WAIT_PAUSES: u32 = 64;
/// The pause of a long wait, of which it is a small part.
const IN_LONG_WAIT: Duration = Duration::from_micros(500);

/// Pauses that grow while nothing happens.
#[derive(Debug, Default)]
pub(super) struct BackOff {
    idle_polls: u32,
}

impl BackOff {
    /// Something has happened.
    pub(super) fn reset(&mut self) {
        self.idle_polls = 0;
    }

    /// Waits before the next poll.
    pub(super) fn pause(&mut self) {
        match self.next_pause() {
            // Another thread may need this core, the one that computes or the one of another rank.
            Duration::ZERO => std::thread::yield_now(),
            pause => std::thread::sleep(pause),
        }
    }

    fn next_pause(&mut self) -> Duration {
        let idle_polls = self.idle_polls;
        self.idle_polls = self.idle_polls.saturating_add(1);
        match idle_polls.checked_sub(IMMEDIATE_POLLS) {
            None => Duration::ZERO,
            Some(LONG_WAIT_PAUSES..) => IN_LONG_WAIT,
            Some(pauses) => (SHORTEST * (1 << (pauses / 4).min(8))).min(LONGEST),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_until_something_happens() {
        let mut back_off = BackOff::default();
        let pauses: Vec<_> = (0..100).map(|_| back_off.next_pause()).collect();
        assert_eq!(pauses[..IMMEDIATE_POLLS as usize], [Duration::ZERO; IMMEDIATE_POLLS as usize]);
        assert!(pauses.is_sorted());
        assert_eq!((pauses[60], pauses[99]), (LONGEST, IN_LONG_WAIT));
        back_off.reset();
        assert_eq!(back_off.next_pause(), Duration::ZERO);
    }
}
