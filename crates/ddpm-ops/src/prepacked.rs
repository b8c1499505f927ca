//! Weights in the forms that kernels read them in, kept from pass to pass.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Result, Tensor, TensorId};

use crate::cpu::conv2d::{ConvKernel, ConvWeights};
use crate::cpu::geometry::Geometry;

/// What the convolutions of a network make of its weights, for a network whose weights do not change: made in its first pass,
/// used in all of them. At a batch of one image it is half of a pass's time.
///
/// Weights go by the identity of their tensors: values that are set in place, as an optimiser does, go unnoticed.
#[derive(Clone, Default)]
pub struct PackedWeights {
    on_cpu: Arc<Mutex<OnCpu>>,
    on_device: Arc<Mutex<HashMap<(TensorId, DType), Tensor>>>,
}

#[derive(Default)]
struct OnCpu {
    all: HashMap<(TensorId, &'static str), Arc<ConvWeights<'static>>>,
    bytes: usize,
}

/// Of 3 × 3 weights Winograd's form takes four times the memory: what is beyond this is made in every pass.
const MOST_BYTES: usize = 1 << 30;

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedWeights").field("bytes_on_cpu", &lock(&self.on_cpu).bytes).finish_non_exhaustive()
    }
}

/// A panic in between leaves a map that is as good as before.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl PackedWeights {
    /// A CPU kernel's weights; None where there is nothing to keep, or no more room.
    pub(crate) fn weights(
        &self,
        kernel: &dyn ConvKernel,
        geometry: &Geometry,
        id: TensorId,
        weight: &[f32],
    ) -> Option<Arc<ConvWeights<'static>>> {
        if let Some(kept) = lock(&self.on_cpu).all.get(&(id, kernel.name())) {
            return Some(kept.clone());
        }
        if lock(&self.on_cpu).bytes >= MOST_BYTES {
            return None;
        }
        // Not under the lock: packing waits for other threads, which may want weights too.
        let packed = Arc::new(kernel.pack(geometry, weight).into_cacheable()?);
        let mut kept = lock(&self.on_cpu);
        if kept.bytes + packed.bytes() > MOST_BYTES {
            kept.bytes = MOST_BYTES;
            return Some(packed);
        }
        kept.bytes += packed.bytes();
        kept.all.insert((id, kernel.name()), packed.clone());
        Some(packed)
    }

    /// A weight as the operations on devices read it in that type.
    pub(crate) fn on_device(
        &self,
        weight: &Tensor,
        dtype: DType,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let key = (weight.id(), dtype);
        if let Some(kept) = lock(&self.on_device).get(&key) {
            return Ok(kept.clone());
        }
        let made = make()?;
        lock(&self.on_device).insert(key, made.clone());
        Ok(made)
    }
}
