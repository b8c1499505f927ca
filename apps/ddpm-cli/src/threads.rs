//! How many threads compute.

use anyhow::Context;

use crate::usage;

/// Has every computation of this process use `threads` threads; all cores where none is given. Returns their number.
/// Called once, before anything computes.
///
/// # Errors
/// When `threads` is 0 or more than a machine could have, or the threads cannot be started.
pub fn use_threads(threads: Option<usize>) -> anyhow::Result<usize> {
    const MOST: usize = 4096;
    if let Some(threads) = threads.filter(|n| !(1..=MOST).contains(n)) {
        return Err(usage(format!("--threads: expected 1 to {MOST}, found {threads}")));
    }
    // 0 lets rayon decide: RAYON_NUM_THREADS, else the cores this process may use.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0));
    pool.build_global().context("could not start the worker threads")?;
    Ok(rayon::current_num_threads())
}
