//! Weights in the layouts that kernels read, cached between forward passes.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// A cache of convolution weights in the layouts that the kernels of a backend read, for a network whose weights do not
/// change: the first forward pass fills it, and later ones read it. Sampling a single image takes half the time with
/// it.
///
/// The cache identifies a weight by its tensor. Values that are changed in place, as an optimizer does, go unnoticed:
/// do not train with it.
#[derive(Clone, Default)]
pub struct PackedWeights {
    /// The cache of each backend, by its type.
    caches: Arc<Mutex<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>>,
}

impl std::fmt::Debug for PackedWeights {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackedWeights").finish_non_exhaustive()
    }
}

impl PackedWeights {
    /// The cache of type `C`, which is the private type of one backend. Created empty the first time.
    pub(crate) fn cache<C: Default + Send + Sync + 'static>(&self) -> Arc<C> {
        // A thread that panicked while it held the lock has left a valid map.
        let mut caches = self.caches.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = caches.entry(TypeId::of::<C>()).or_insert_with(|| Arc::new(C::default()));
        match cache.clone().downcast() {
            Ok(cache) => cache,
            Err(_) => unreachable!("the map's key is the type of its value"),
        }
    }
}
