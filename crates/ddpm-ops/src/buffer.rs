//! Memory for activations and gradients that is used again, step after step.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An array of f32 whose memory goes back to the pool when it is dropped.
///
/// A training step needs the same sizes as the one before it. Fresh memory from the operating system costs a page fault every
/// 4 KiB, as much time as the arithmetic on it.
#[derive(Debug, Default)]
pub(crate) struct Buffer(Vec<f32>);

#[derive(Debug)]
struct Pool {
    idle: BTreeMap<usize, Vec<Vec<f32>>>,
    idle_elements: usize,
    lent: usize,
    most_lent: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: BTreeMap::new(), idle_elements: 0, lent: 0, most_lent: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // Every state of the pool is a valid one.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// A buffer of that length. It holds whatever its last user left: all of it is to be written.
    pub(crate) fn new(len: usize) -> Self {
        let mut buffer = Self(Self::take(len));
        if cfg!(debug_assertions) {
            // What is read before it is written shows.
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// A buffer of zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self(Self::take(len));
        buffer.fill(0.0);
        buffer
    }

    /// A copy of a slice.
    pub(crate) fn copy_of(values: &[f32]) -> Self {
        let mut buffer = Self(Self::take(values.len()));
        buffer.copy_from_slice(values);
        buffer
    }

    fn take(len: usize) -> Vec<f32> {
        if len == 0 {
            return Vec::new();
        }
        let mut pool = pool();
        pool.lent += len;
        pool.most_lent = pool.most_lent.max(pool.lent);
        if let Some(values) = pool.idle.get_mut(&len).and_then(Vec::pop) {
            pool.idle_elements -= len;
            return values;
        }
        // More than twice what was ever in use at once: sizes have changed, and the old ones will not come again.
        if pool.idle_elements + pool.lent > 2 * pool.most_lent {
            pool.idle.clear();
            pool.idle_elements = 0;
        }
        drop(pool);
        vec![0.0; len]
    }

    /// The values, which leave the pool for good.
    pub(crate) fn into_vec(mut self) -> Vec<f32> {
        let values = std::mem::take(&mut self.0);
        pool().lent -= values.len();
        values
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let values = std::mem::take(&mut self.0);
        if values.is_empty() {
            return;
        }
        let mut pool = pool();
        pool.lent -= values.len();
        pool.idle_elements += values.len();
        pool.idle.entry(values.len()).or_default().push(values);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_comes_back() {
        // A length that no other test uses.
        let first = Buffer::new(123_457);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::copy_of(&vec![1.0; 123_457]).as_ptr(), address);
        assert_eq!(Buffer::copy_of(&[1.0, 2.0]).into_vec(), [1.0, 2.0]);
    }
}
