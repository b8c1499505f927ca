//! The share of a host's cores that one rank computes on.

/// The number of threads that one of `local_size` ranks of a host computes with, at least 1.
///
/// `available` is the number of cores that this process may use, `online` the number that the host has. If the launcher
/// has bound the process to some of them (`available < online`), they are its own; otherwise the ranks of the host
/// divide them.
///
/// # Examples
/// ```
/// use ddpm_distributed::threads_of_rank;
///
/// assert_eq!(threads_of_rank(16, 16, 4), 4); // four ranks divide 16 cores
/// assert_eq!(threads_of_rank(4, 16, 4), 4); // bound to 4 of 16
/// assert_eq!(threads_of_rank(2, 2, 4), 1); // more ranks than cores
/// ```
pub fn threads_of_rank(available: usize, online: usize, local_size: usize) -> usize {
    let share = if available < online { available } else { available / local_size.max(1) };
    share.max(1)
}
