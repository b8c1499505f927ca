//! The signals that ask the program to stop, on Unix.

use std::io::Result;
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGXFSZ};
use signal_hook::iterator::Signals;

/// Installs handlers, and returns the signals as they arrive. The iterator waits for the next one.
///
/// # Errors
/// When a handler cannot be installed.
pub(crate) fn install() -> Result<impl Iterator<Item = i32> + Send> {
    // With a handler, a write beyond the limit of the file size (`ulimit -f`) is an error like that of a full disk.
    signal_hook::flag::register(SIGXFSZ, Arc::default())?;
    // Batch systems announce the end of the time with SIGUSR1, and mpirun passes it on to every process.
    let mut handled = vec![SIGINT, SIGTERM, SIGUSR1];
    if !is_ignored(SIGHUP) {
        handled.push(SIGHUP);
    }
    let mut signals = Signals::new(handled)?;
    Ok(std::iter::from_fn(move || signals.forever().next()))
}

/// Whether the program was started with this signal ignored. True where the system does not say so: a handler would
/// undo `nohup`.
fn is_ignored(signal: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_none_or(|mask| mask >> (signal - 1) & 1 == 1)
}
