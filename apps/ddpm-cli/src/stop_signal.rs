//! Signals that stop a program: the first one lets it save its state, a later one ends it immediately.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tracing::{info, warn};

use crate::job::Job;
use crate::signals;

/// Handles SIGINT (Ctrl-C), SIGTERM, and on Unix SIGUSR1, and SIGHUP unless the program was started to ignore it, as by
/// `nohup`.
///
/// A signal ends the program immediately until [`StopSignal::stop_gracefully`] is called. After that, the first signal
/// is only recorded: the program queries it with [`StopSignal::received`], saves its state and ends.
#[derive(Debug, Clone)]
pub struct StopSignal {
    /// Number of the recorded signal; 0 for none.
    number: Arc<AtomicUsize>,
    ends_immediately: Arc<AtomicBool>,
    /// What ends with the process.
    job: Job,
}

/// Signals within this time after the first one are ignored: `timeout` sends two signals, and so may a user.
const REPEAT_INTERVAL: Duration = Duration::from_secs(1);

impl StopSignal {
    /// Installs the signal handlers. A signal n now ends the program immediately, with exit code 128 + n.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install() -> anyhow::Result<Self> {
        Self::install_for(&Job::default())
    }

    /// Like [`StopSignal::install`]; a signal that ends this process immediately ends all processes of `job`.
    ///
    /// # Errors
    /// When the handlers cannot be installed.
    pub fn install_for(job: &Job) -> anyhow::Result<Self> {
        let signals = signals::install().context("the signal handlers could not be installed")?;
        let ends_immediately = Arc::new(AtomicBool::new(true));
        let stop = Self { number: Arc::default(), ends_immediately, job: job.clone() };
        let handler = stop.clone();
        let thread = std::thread::Builder::new().name("signals".into());
        thread.spawn(move || handler.handle(signals)).context("the signal handlers could not be installed")?;
        Ok(stop)
    }

    fn handle(&self, signals: impl Iterator<Item = i32>) {
        let mut first: Option<Instant> = None;
        for signal in signals {
            if self.ends_immediately.load(Ordering::Relaxed) {
                self.job.abort(128 + signal);
            }
            match first {
                None => {
                    first = Some(Instant::now());
                    self.number.store(signal as usize, Ordering::Relaxed);
                    info!(
                        "stopping as soon as the state is saved; a second signal, after one second, stops immediately"
                    );
                }
                Some(first) if first.elapsed() < REPEAT_INTERVAL => {}
                Some(_) => {
                    warn!("stopped immediately by a second signal: work since the last save is lost");
                    self.job.abort(128 + signal);
                }
            }
        }
    }

    /// From now on, the first signal is only recorded. A later one ends the program immediately.
    pub fn stop_gracefully(&self) {
        self.ends_immediately.store(false, Ordering::Relaxed);
    }

    /// From now on, a signal ends the program immediately. Use it before work that may block.
    pub fn stop_immediately(&self) {
        self.ends_immediately.store(true, Ordering::Relaxed);
    }

    /// The recorded signal, if there is one.
    pub fn received(&self) -> Option<i32> {
        match self.number.load(Ordering::Relaxed) {
            0 => None,
            signal => Some(signal as i32),
        }
    }
}
