//! The number of threads that compute.

use anyhow::Context;

use crate::exit::usage_error;

/// Starts `threads` worker threads for all computations of the process, and runs `work` on one of them. `work`
/// receives their number. Without `threads`, there is one for each core. The function must be called once, before
/// anything computes.
///
/// `work` runs on a worker thread because the main thread would otherwise sleep while the workers compute and wake up
/// for every operation, which takes longer than a small operation itself.
///
/// # Errors
/// When `threads` is not 1 to 4096 or the threads cannot be started; and the errors of `work`.
pub fn run_on_threads<T: Send>(
    threads: Option<usize>,
    work: impl FnOnce(usize) -> anyhow::Result<T> + Send,
) -> anyhow::Result<T> {
    const MAX_THREADS: usize = 4096;
    // The usual stack size of a main thread.
    const STACK_BYTES: usize = 8 << 20;
    if let Some(threads) = threads.filter(|threads| !(1..=MAX_THREADS).contains(threads)) {
        return Err(usage_error(format!("--threads: expected 1 to {MAX_THREADS}, found {threads}")));
    }
    // With 0, rayon reads RAYON_NUM_THREADS, or else takes the number of cores that the process may use.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or(0)).stack_size(STACK_BYTES);
    pool.build_global().context("the worker threads could not be started")?;
    rayon::scope(|_| work(rayon::current_num_threads()))
}
