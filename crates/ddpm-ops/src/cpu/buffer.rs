//! Memory for activations and gradients that is reused from step to step.

use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// An array of f32 whose memory returns to a pool of this process when it is dropped.
///
/// A training step needs arrays of the same sizes as the step before it. Fresh memory from the operating system costs a
/// page fault every 4 KiB, which takes as long as the arithmetic on it.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// The memory, which may be longer than the array.
    memory: Vec<f32>,
    len: usize,
}

/// The memory of dropped buffers.
#[derive(Debug)]
struct Pool {
    /// Memory that is not in use, by its length.
    idle: BTreeMap<usize, Vec<Vec<f32>>>,
    /// The number of elements of all idle memory.
    idle_elements: usize,
    /// The number of elements of all memory in use.
    used_elements: usize,
    /// The largest number of elements that has been in use at once.
    peak_elements: usize,
}

static POOL: Mutex<Pool> =
    Mutex::new(Pool { idle: BTreeMap::new(), idle_elements: 0, used_elements: 0, peak_elements: 0 });

fn pool() -> MutexGuard<'static, Pool> {
    // A panic leaves the pool in a valid state, so a poisoned lock can be used.
    POOL.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Buffer {
    /// A buffer of this length with arbitrary contents: the caller has to write every element before it reads it.
    pub(crate) fn new(len: usize) -> Self {
        let mut buffer = Self { memory: Self::take(len), len };
        if cfg!(debug_assertions) {
            // NaN makes an element visible that is read before it is written.
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
        // The shortest memory that is long enough, unless it is so long that a longer buffer will soon need it.
        let fitting = pool.idle.range(len..=len.saturating_mul(MAX_OVERSIZE)).next().map(|(length, _)| *length);
        let length = fitting.unwrap_or(len);
        pool.used_elements += length;
        pool.peak_elements = pool.peak_elements.max(pool.used_elements);
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
        // The pool holds more than twice the memory that was ever in use at once: the sizes have changed, and those of
        // the idle memory are unlikely to be needed again.
        if pool.idle_elements + pool.used_elements > 2 * pool.peak_elements {
            pool.idle.clear();
            pool.idle_elements = 0;
        }
        drop(pool);
        vec![0.0; length]
    }

    /// The values as a vector, whose memory does not return to the pool.
    pub(crate) fn into_vec(mut self) -> Vec<f32> {
        let mut values = std::mem::take(&mut self.memory);
        pool().used_elements -= values.len();
        values.truncate(self.len);
        values
    }
}

/// The largest ratio of the length of the memory to the length of its buffer.
const MAX_OVERSIZE: usize = 4;

impl Drop for Buffer {
    fn drop(&mut self) {
        let memory = std::mem::take(&mut self.memory);
        if memory.is_empty() {
            return;
        }
        let mut pool = pool();
        pool.used_elements -= memory.len();
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
    fn memory_is_reused() {
        // A length that no other test uses.
        let first = Buffer::new(123_457);
        let address = first.as_ptr();
        drop(first);
        assert_eq!(Buffer::copy_of(&vec![1.0; 123_457]).as_ptr(), address);
        assert_eq!(Buffer::copy_of(&[1.0, 2.0]).into_vec(), [1.0, 2.0]);
    }
}
