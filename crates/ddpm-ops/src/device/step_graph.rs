//! A training step that is captured once and replayed: a CUDA graph.

use candle_core::{Device, Result, bail};

use crate::device::emulation::emulated;
use crate::device::shape_cache::ShapeCache;
use crate::device::training_cache::{Phase, TrainingCache};

/// The operations of a training step, captured as a CUDA graph. A replay starts all of them with one call of the
/// driver, which takes the CPU less time than the thousand calls of an uncaptured step.
///
/// The kernels receive the same arguments in every replay. Everything that differs between steps has to be read from
/// tensors that stay at one address: the images, the timesteps and the target of the step, which the caller copies
/// there; the seeds of dropout ([`TrainingCache::store_seeds`]); and the learning rate
/// ([`DeviceUpdate::begin`](crate::DeviceUpdate::begin)).
///
/// Capture a step after a few uncaptured ones of the same shapes ([`StepGraph::warm_up`]): these compile the kernels,
/// choose the algorithms of convolutions and fill the caches of shapes and weights, none of which a capture can do.
#[derive(Debug)]
pub struct StepGraph {
    cache: TrainingCache,
    captured: Captured,
}

#[derive(Debug)]
enum Captured {
    #[cfg(feature = "cuda")]
    Graph(super::cuda_graph::CapturedGraph),
    /// An emulated GPU computes the operations again.
    Emulated,
}

impl StepGraph {
    /// Whether steps on this device can be captured: on a GPU, and on the CPU where it emulates one.
    pub fn supports(device: &Device) -> bool {
        cfg!(feature = "cuda") && device.is_cuda() || device.is_cpu() && emulated()
    }

    /// Computes the operations of `step` one after the other, so that the caches that a capture needs are filled.
    ///
    /// # Errors
    /// The error of `step`.
    pub fn warm_up(device: &Device, step: impl FnOnce() -> Result<()>) -> Result<()> {
        let _shapes = ShapeCache::enable(device);
        step()
    }

    /// Captures the operations of `step`, which are not computed. The passes and the update in `step` use `cache`.
    ///
    /// # Errors
    /// The error of `step`, an operation that cannot be captured, or that of the device.
    pub fn capture(device: &Device, cache: &TrainingCache, step: impl FnOnce() -> Result<()>) -> Result<Self> {
        let captured = match device {
            #[cfg(feature = "cuda")]
            Device::Cuda(device) => {
                cache.set_phase(Phase::Capture);
                let graph = super::cuda_graph::CapturedGraph::capture(device, step);
                cache.set_phase(Phase::Eager);
                Captured::Graph(graph?)
            }
            Device::Cpu if emulated() => {
                let _ = step;
                Captured::Emulated
            }
            _ => bail!("expected a GPU to capture a step on, found {device:?}"),
        };
        Ok(Self { cache: cache.clone(), captured })
    }

    /// Starts the captured operations. `step` is the function that was captured; an emulated GPU calls it.
    ///
    /// # Errors
    /// When the device fails.
    pub fn replay(&self, step: impl FnOnce() -> Result<()>) -> Result<()> {
        match &self.captured {
            #[cfg(feature = "cuda")]
            Captured::Graph(graph) => graph.launch(),
            Captured::Emulated => {
                self.cache.set_phase(Phase::Emulation);
                let result = step();
                self.cache.set_phase(Phase::Eager);
                result
            }
        }
    }
}
