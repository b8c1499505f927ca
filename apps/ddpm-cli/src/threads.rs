//! How many threads compute.

use anyhow::Context;

use crate::usage;

/// Has every computation of this process use `threads` threads, all cores where none is given, and runs `work` with
/// their number on one of them. Called once, before anything computes.
///
/// On one of them: a thread beside them would sleep while they compute and they while it thinks, and waking up takes
/// longer than a small operation.
///
/// # Errors
/// When `threads` is 0 or more than a machine could have, or the threads cannot be started; and those of `work`.
pub fn on_threads<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce(usize) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    const MOST: usize = 4096;
    // As much as a main thread has.
    const STACK: usize = 8 << 20;
    if let Some(threads) = threads.filter(|n| !(1..=MOST).contains(n)) {
        return Err(usage(format!("--threads: expected 1 to {MOST}, found {threads}")));
    }
    // 0 lets rayon decide: RAYON_NUM_THREADS, else the cores this process may use.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).stack_size(STACK);
    pool.build_global().context("could not start the worker threads")?;
    rayon::scope(|_| work(rayon::current_num_threads()))
}
