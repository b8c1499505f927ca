//! Signals: the first asks the program to save and stop, a second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

/// SIGINT and SIGTERM. At first they end the program at once; where there is something to save, the first one asks it to.
#[derive(Debug, Clone)]
pub struct StopSignal {
    number: Arc<AtomicUsize>,
    at_once: Arc<AtomicBool>,
}

impl StopSignal {
    /// Listens from now on: a signal n ends the program at once, with exit code 128 + n.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let (number, at_once) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal after `defer` finds the flag unset, and sets it for the next.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&at_once))
                .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&at_once)))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(&number), signal as usize))
                .context("could not listen for signals")?;
        }
        Ok(Self { number, at_once })
    }

    /// From now on the next signal only asks, as [`StopSignal::received`] tells; the one after it ends the program at once.
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
