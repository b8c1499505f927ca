//! Replaces `gpu.rs` in a program that was built without the feature `cuda`.

use candle_core::{Device, Error, Result};

/// The number of GPUs that this process may use.
///
/// # Errors
/// Always: the program was built without CUDA.
pub(crate) fn count() -> Result<usize> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// Opens the GPU with this index.
///
/// # Errors
/// Always: the program was built without CUDA.
pub(crate) fn open(_: usize) -> Result<Device> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// The model name of the GPU: `None`, because the device is the CPU.
pub(crate) fn model(_: &Device) -> Option<String> {
    None
}
