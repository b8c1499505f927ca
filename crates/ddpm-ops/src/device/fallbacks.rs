//! The operations that a GPU computed by composing candle's operations, because there is no kernel for them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{Device, Tensor};

use crate::device::emulation::emulated;

/// An operation that was composed of candle's, which is slower than a kernel by an order of magnitude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fallback {
    /// The operation and its shape.
    pub operation: String,
    /// Why there is no kernel for it.
    pub reason: String,
    /// How often it was computed.
    pub calls: u64,
}

/// The reason and the number of calls of each operation.
type Composed = BTreeMap<String, (String, u64)>;

static COMPOSED: Mutex<Composed> = Mutex::new(BTreeMap::new());

/// All operations that this process composed on a GPU so far, sorted by their names.
pub fn fallbacks() -> Vec<Fallback> {
    let fallback = |(operation, (reason, calls)): (&String, &(String, u64))| Fallback {
        operation: operation.clone(),
        reason: reason.clone(),
        calls: *calls,
    };
    composed().iter().map(fallback).collect()
}

/// Records that an operation on `device` is composed, and warns the first time. On a CPU that does not emulate a GPU
/// this is the usual way, and nothing is recorded.
pub(super) fn record_fallback(device: &Device, operation: impl FnOnce() -> String, reason: &str) {
    if device.is_cpu() && !emulated() {
        return;
    }
    match composed().entry(operation()) {
        Entry::Occupied(mut entry) => entry.get_mut().1 += 1,
        Entry::Vacant(entry) => {
            tracing::warn!("{} is composed of slower operations on the GPU: {reason}", entry.key());
            entry.insert((reason.to_owned(), 1));
        }
    }
}

/// Records that the operation of this name on `x` is composed.
pub(super) fn record_missing_kernel(name: &str, x: &Tensor) {
    let dtype = x.dtype().as_str();
    let operation = || format!("{name} of {:?} in {dtype}", x.dims());
    record_fallback(x.device(), operation, "the kernels are for non-empty tensors of f32 and bf16");
}

fn composed() -> MutexGuard<'static, Composed> {
    // A thread that panicked while it held the lock has left a valid map.
    COMPOSED.lock().unwrap_or_else(PoisonError::into_inner)
}
