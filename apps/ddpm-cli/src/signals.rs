//! Signals: the first asks the program to save and stop, another, later one ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tracing::{info, warn};

/// SIGINT and SIGTERM. At first they end the program at once; where there is something to save, the first one asks it
/// to.
#[derive(Debug, Clone)]
pub struct StopSignal {
    number: Arc<AtomicUsize>,
    at_once: Arc<AtomicBool>,
}

/// A signal this soon after the first is the same wish: `timeout` sends two, and so may a finger.
const SAME: Duration = Duration::from_secs(1);

impl StopSignal {
    /// Listens from now on: a signal n ends the program at once, with exit code 128 + n.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let signals = Signals::new([SIGINT, SIGTERM]).context("could not listen for signals")?;
        let stop = Self { number: Arc::new(AtomicUsize::new(0)), at_once: Arc::new(AtomicBool::new(true)) };
        let heard = stop.clone();
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || heard.hear(signals)).context("could not listen for signals")?;
        Ok(stop)
    }

    fn hear(&self, mut signals: Signals) {
        let mut first: Option<Instant> = None;
        for signal in signals.forever() {
            if self.at_once.load(Ordering::Relaxed) {
                std::process::exit(128 + signal);
            }
            match first {
                None => {
                    first = Some(Instant::now());
                    self.number.store(signal as usize, Ordering::Relaxed);
                    info!(
                        "stopping as soon as what is done can be saved; another signal, a second from now, ends it at once"
                    );
                }
                Some(first) if first.elapsed() < SAME => {}
                Some(_) => {
                    warn!("ended by a second signal: what was not saved yet is lost");
                    std::process::exit(128 + signal);
                }
            }
        }
    }

    /// From now on the next signal only asks, as [`StopSignal::received`] tells; a later one ends the program at once.
    pub fn defer(&self) {
        self.at_once.store(false, Ordering::Relaxed);
    }

    /// From now on a signal ends the program at once, as at first: for work that may block.
    pub fn at_once(&self) {
        self.at_once.store(true, Ordering::Relaxed);
    }

    /// The signal that asked, if one has.
    pub fn received(&self) -> Option<i32> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}
