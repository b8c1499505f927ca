//! Packed weights of the CPU's convolutions, cached between passes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::TensorId;

use crate::cpu::conv2d::{ConvKernel, ConvWeights};
use crate::cpu::geometry::Geometry;

/// The CPU's part of [`crate::PackedWeights`]: weights by tensor and by the name of the kernel that reads them.
#[derive(Debug, Default)]
pub(crate) struct WeightCache(Mutex<Cached>);

#[derive(Debug, Default)]
struct Cached {
    weights: HashMap<(TensorId, &'static str), Arc<ConvWeights<'static>>>,
    bytes: usize,
}

/// Largest size of a cache. Winograd's layout of a 3 × 3 kernel takes four times the kernel's memory, so a large
/// network could exhaust a small machine; weights beyond this size are packed in every pass.
const MAX_BYTES: usize = 1 << 30;

impl WeightCache {
    /// The weights of a kernel, packed now if they are not in the cache. `None` if the kernel reads weights as they
    /// are, or the cache is full.
    pub(crate) fn weights(
        &self,
        kernel: &dyn ConvKernel,
        geometry: &Geometry,
        id: TensorId,
        weight: &[f32],
    ) -> Option<Arc<ConvWeights<'static>>> {
        if let Some(cached) = self.lock().weights.get(&(id, kernel.name())) {
            return Some(cached.clone());
        }
        if self.lock().bytes >= MAX_BYTES {
            return None;
        }
        // The lock is not held while packing, which waits for other threads that may need weights too.
        let packed = Arc::new(kernel.pack(geometry, weight).into_cacheable()?);
        let mut cached = self.lock();
        if cached.bytes + packed.bytes() > MAX_BYTES {
            cached.bytes = MAX_BYTES;
            return Some(packed);
        }
        cached.bytes += packed.bytes();
        cached.weights.insert((id, kernel.name()), packed.clone());
        Some(packed)
    }

    fn lock(&self) -> MutexGuard<'_, Cached> {
        // A thread that panicked while it held the lock has left a valid map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
