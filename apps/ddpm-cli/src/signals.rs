//! SIGINT and SIGTERM: the first asks the program to save and stop, a second ends it at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::Context;
use signal_hook::consts::{SIGINT, SIGTERM};

/// Whether a signal has asked the program to stop.
#[derive(Debug, Clone)]
pub struct StopSignal(Arc<AtomicUsize>);

impl StopSignal {
    /// Listens from now on.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn listen() -> anyhow::Result<Self> {
        let number = Arc::new(AtomicUsize::new(0));
        for signal in [SIGINT, SIGTERM] {
            let asked = Arc::new(AtomicBool::new(false));
            // Before the flag is set it does nothing; once it is, the next signal exits at once.
            signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&asked))
                .and_then(|_| signal_hook::flag::register(signal, asked))
                .and_then(|_| signal_hook::flag::register_usize(signal, Arc::clone(&number), signal as usize))
                .context("could not listen for signals")?;
        }
        Ok(Self(number))
    }

    /// The signal that asked, if one has.
    pub fn received(&self) -> Option<i32> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}
