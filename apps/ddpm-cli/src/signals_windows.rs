//! The signals that ask the program to stop, on Windows: Ctrl-C and a termination through the C runtime.

use std::io::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGINT, SIGTERM};

/// The time between two looks for a signal, which a handler on Windows cannot announce.
const INTERVAL: Duration = Duration::from_millis(50);

/// Installs handlers, and returns the signals as they arrive. The iterator waits for the next one.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn install() -> Result<impl Iterator<Item = i32> + Send> {
    let received = Arc::new(AtomicUsize::new(0));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_usize(signal, Arc::clone(&received), signal as usize)?;
    }
    Ok(std::iter::from_fn(move || {
        loop {
            match received.swap(0, Ordering::Relaxed) {
                0 => std::thread::sleep(INTERVAL),
                signal => return Some(signal as i32),
            }
        }
    }))
}
