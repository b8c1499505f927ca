//! Memory for activations and gradients that is used again, step after step.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An array of f32 whose memory goes back to the pool when it is dropped.
///
/// A training step needs the same sizes as the one before it. Fresh memory from the operating system costs a page fault every
/// 4 KiB, as much time as the arithmetic on it.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// May be longer than asked for.
    memory: Vec<f32>,
    len: usize,
}

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
        let mut buffer = Self { memory: Self::take(len), len };
        if cfg!(debug_assertions) {
            // What is read before it is written shows.
            buffer.fill(f32::NAN);
        }
        buffer
    }

    /// A buffer of zeros.
    pub(crate) fn zeros(len: usize) -> Self {
        let mut buffer = Self { memory: Self::take(len), len };
        buffer.fill(0.0);
        buffer
    }

    /// A copy of a slice.
    pub(crate) fn copy_of(values: &[f32]) -> Self {
        let mut buffer = Self { memory: Self::take(values.len()), len: values.len() };
        buffer.copy_from_slice(values);
        buffer
    }

    fn take(len: usize) -> Vec<f32> {
        if len == 0 {
            return Vec::new();
        }
        let mut pool = pool();
        // The shortest that is long enough, and not so long that it is missed elsewhere.
        let fitting = pool.idle.range(len..=len.saturating_mul(LONGEST)).next().map(|(length, _)| *length);
        let length = fitting.unwrap_or(len);
        pool.lent += length;
        pool.most_lent = pool.most_lent.max(pool.lent);
        if let std::collections::btree_map::Entry::Occupied(mut idle) = pool.idle.entry(length) {
            let memory = idle.get_mut().pop();
            if idle.get().is_empty() {
                idle.remove();
            }
            if let Some(memory) = memory {
                pool.idle_elements -= length;
                return memory;
            }
        }
        // More than twice what was ever in use at once: sizes have changed, and the old ones will not come again.
        if pool.idle_elements + pool.lent > 2 * pool.most_lent {
            pool.idle.clear();
            pool.idle_elements = 0;
        }
        drop(pool);
        vec![0.0; length]
    }

    /// The values, which leave the pool for good.
    pub(crate) fn into_vec(mut self) -> Vec<f32> {
        let mut values = std::mem::take(&mut self.memory);
        pool().lent -= values.len();
        values.truncate(self.len);
        values
    }
}

/// How many times as long as asked for memory may be.
const LONGEST: usize = 4;

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.is_empty() {
            return;
        }
        let mut pool = pool();
        pool.lent -= memory.len();
        pool.idle_elements += memory.len();
        pool.idle.entry(memory.len()).or_default().push(memory);
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.memory[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.memory[..self.len]
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
