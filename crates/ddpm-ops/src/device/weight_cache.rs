//! Convolution weights in the layout and type that the device backend reads, cached between passes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Result, Tensor, TensorId};

/// The device part of [`crate::PackedWeights`]: weights by tensor and type.
#[derive(Debug, Default)]
pub(in crate::device) struct WeightCache(Mutex<HashMap<(TensorId, DType), Tensor>>);

impl WeightCache {
    /// The converted weight, made by `make` if it is not in the cache.
    pub(in crate::device) fn get_or_insert(
        &self,
        weight: &Tensor,
        dtype: DType,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        let key = (weight.id(), dtype);
        if let Some(cached) = self.lock().get(&key) {
            return Ok(cached.clone());
        }
        let made = make()?;
        self.lock().insert(key, made.clone());
        Ok(made)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(TensorId, DType), Tensor>> {
        // A thread that panicked while it held the lock has left a valid map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
