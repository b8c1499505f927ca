//! What the passes and the updates of one training share on a GPU.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use candle_core::{DType, Device, Result, Tensor, TensorId, bail};

use crate::device::seed::Seed;
use crate::device::upload::upload;

/// What the forward passes, the backward passes and the updates of one training share on a GPU.
///
/// Give the same one to the network ([`ComputeOptions::training_cache`](crate::ComputeOptions)) and to the
/// [`DeviceUpdate`](crate::DeviceUpdate) of its parameters. It holds
///
/// - the weights of the convolutions in the layout and type that cuDNN reads. A pass makes them once, and the update
///   keeps them current, so that later passes need not convert the weights again;
/// - the seeds of dropout, and other numbers that change from step to step, for a step that is captured as a
///   [`StepGraph`](crate::StepGraph).
///
/// A cache that no update uses has no effect.
#[derive(Debug, Clone, Default)]
pub struct TrainingCache(Arc<Mutex<Shared>>);

#[derive(Debug, Default)]
struct Shared {
    /// Whether a `DeviceUpdate` keeps the weights current.
    keeps_weights: bool,
    weights: HashMap<TensorId, Tensor>,
    phase: Phase,
    /// The seeds of the present forward pass, in the order of their first use.
    seeds: Vec<u64>,
    /// Where a captured step reads its seeds, [count] in i64.
    stored_seeds: Option<Tensor>,
}

/// How the operations of the present step are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Phase {
    /// One after the other.
    #[default]
    Eager,
    /// They are captured, and not computed.
    Capture,
    /// One after the other in place of a captured step, by an emulated GPU.
    Emulation,
}

impl TrainingCache {
    fn lock(&self) -> MutexGuard<'_, Shared> {
        // A thread that panicked while it held the lock has left valid data.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a `DeviceUpdate` keeps the weights current.
    pub(super) fn keeps_weights(&self) -> bool {
        self.lock().keeps_weights
    }

    /// Sets whether a `DeviceUpdate` keeps the weights current, and discards the present ones.
    pub(super) fn keep_weights(&self, keep: bool) {
        let mut shared = self.lock();
        shared.keeps_weights = keep;
        shared.weights.clear();
    }

    /// A convolution's weight in the layout and type that the convolution reads, made by `make` if there is none.
    pub(super) fn kernel(
        &self,
        weight: &Tensor,
        dtype: DType,
        make: impl FnOnce() -> Result<Tensor>,
    ) -> Result<Tensor> {
        if let Some(kernel) = self.kernel_of(weight)
            && kernel.dtype() == dtype
        {
            return Ok(kernel);
        }
        let kernel = make()?;
        self.lock().weights.insert(weight.id(), kernel.clone());
        Ok(kernel)
    }

    /// The weight of this tensor that a pass has made.
    pub(super) fn kernel_of(&self, weight: &Tensor) -> Option<Tensor> {
        self.lock().weights.get(&weight.id()).cloned()
    }

    /// How the operations of the present step are computed.
    pub(super) fn phase(&self) -> Phase {
        self.lock().phase
    }

    pub(super) fn set_phase(&self, phase: Phase) {
        let mut shared = self.lock();
        shared.phase = phase;
        shared.seeds.clear();
    }

    /// Begins a forward pass: forgets the seeds of the one before.
    pub(super) fn begin_pass(&self) {
        self.lock().seeds.clear();
    }

    /// The seeds that the operations of the last forward pass and of its backward pass have used, in the order of
    /// their first use.
    pub fn seeds(&self) -> Vec<u64> {
        self.lock().seeds.clone()
    }

    /// Sets the seeds that the captured step reads in its next replay, in the order in which an uncaptured step would
    /// use them.
    ///
    /// # Errors
    /// When the number of seeds differs from that of the first call, or the device fails.
    pub fn store_seeds(&self, seeds: &[u64], device: &Device) -> Result<()> {
        if seeds.is_empty() {
            return Ok(());
        }
        let bits: Vec<i64> = seeds.iter().map(|seed| seed.cast_signed()).collect();
        let new = upload(&Tensor::new(bits, &Device::Cpu)?, device)?;
        let mut shared = self.lock();
        match &shared.stored_seeds {
            Some(stored) if stored.elem_count() == seeds.len() => stored.slice_set(&new, 0, 0),
            Some(stored) => bail!("expected {} seeds of a captured step, found {}", stored.elem_count(), seeds.len()),
            None => {
                shared.stored_seeds = Some(new);
                Ok(())
            }
        }
    }

    /// The seed as a kernel of the present step receives it.
    pub(super) fn seed(&self, seed: u64) -> Result<Seed> {
        let mut shared = self.lock();
        let position = shared.seeds.iter().position(|used| *used == seed);
        let index = position.unwrap_or(shared.seeds.len());
        if position.is_none() {
            shared.seeds.push(seed);
        }
        if shared.phase == Phase::Eager {
            return Ok(Seed::Value(seed));
        }
        match &shared.stored_seeds {
            Some(stored) if index < stored.elem_count() => Ok(Seed::Stored(stored.narrow(0, index, 1)?)),
            stored => {
                let found = stored.as_ref().map_or(0, Tensor::elem_count);
                bail!("a captured step needs more than the {found} seeds that were stored")
            }
        }
    }
}
