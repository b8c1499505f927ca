//! A cache of the shapes and strides that candle's operations upload to a GPU.
//!
//! An operation of candle on a tensor that is not contiguous, and every sum over an axis, uploads the shape and the
//! strides before it starts its kernel. The passes of a training upload the same few hundred shapes at every step.

use std::any::Any;

use candle_core::Device;

/// While this value exists, candle keeps the shapes that it uploads from this thread, and uploads each of them once.
/// Data of at most 4 KiB that is copied with `Tensor::to_device` is kept as well, and is never freed; a pass copies its
/// inputs with [`upload`](crate::device::upload::upload), which is not affected.
#[derive(Debug)]
pub(super) struct ShapeCache {
    /// candle's guard, whose type has no public name.
    _guard: Option<Box<dyn Any + Send>>,
}

impl ShapeCache {
    /// Has no effect on the CPU.
    pub(super) fn enable(device: &Device) -> Self {
        Self { _guard: guard(device) }
    }

    /// For a part of a pass that has enabled the cache already.
    pub(super) fn inherited() -> Self {
        Self { _guard: None }
    }
}

#[cfg(feature = "cuda")]
fn guard(device: &Device) -> Option<Box<dyn Any + Send>> {
    let device = device.as_cuda_device().ok()?;
    Some(Box::new(device.enable_cuda_graph_htod_cache()))
}

#[cfg(not(feature = "cuda"))]
fn guard(_: &Device) -> Option<Box<dyn Any + Send>> {
    None
}
