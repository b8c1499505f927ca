//! A reader that gives up on a sender that is too slow to ever finish.

use std::io::{Error, ErrorKind, Read, Result};
use std::time::{Duration, Instant};

/// The lowest speed over an interval, in bytes per second.
const MIN_SPEED: u64 = 1024;
/// The interval.
const INTERVAL: Duration = Duration::from_secs(60);

/// Reads from `inner` as long as it sends at least 1 KiB/s over every minute.
pub(crate) struct SteadyReader<R> {
    inner: R,
    interval: Duration,
    start: Instant,
    bytes: u64,
}

impl<R: Read> SteadyReader<R> {
    pub(crate) fn new(inner: R) -> Self {
        Self { inner, interval: INTERVAL, start: Instant::now(), bytes: 0 }
    }
}

impl<R: Read> Read for SteadyReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let read = self.inner.read(buffer)?;
        self.bytes += read as u64;
        let elapsed = self.start.elapsed();
        if elapsed < self.interval {
            return Ok(read);
        }
        if read > 0 && (self.bytes as f64) < elapsed.as_secs_f64() * MIN_SPEED as f64 {
            let problem = format!("the sender is slower than {MIN_SPEED} bytes per second");
            return Err(Error::new(ErrorKind::TimedOut, problem));
        }
        (self.start, self.bytes) = (Instant::now(), 0);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one byte in a while, without end.
    struct Drip;

    impl Read for Drip {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
            std::thread::sleep(Duration::from_millis(5));
            buffer[0] = 0;
            Ok(1)
        }
    }

    #[test]
    fn a_drip_ends_and_a_stream_does_not() {
        let interval = Duration::from_millis(50);
        let mut drip = SteadyReader { interval, ..SteadyReader::new(Drip) };
        let error = drip.read_to_end(&mut Vec::new()).expect_err("too slow");
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        let mut stream = SteadyReader { interval, ..SteadyReader::new(std::io::repeat(7).take(1 << 20)) };
        let mut bytes = Vec::new();
        assert_eq!(stream.read_to_end(&mut bytes).expect("fast"), 1 << 20);
    }
}
