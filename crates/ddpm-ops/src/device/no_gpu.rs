//! Replaces the functions of `kernels/gpu.rs` in a build without the feature `cuda`.

use candle_core::{Device, Error, Result};

use crate::device::gpu_memory::GpuMemory;

/// Opens a GPU as the programs use it.
///
/// # Errors
/// Always: this build has no feature `cuda`.
pub fn open_gpu(_number: usize) -> Result<Device> {
    Err(Error::NotCompiledWithCudaSupport)
}

/// The memory that this process has taken from a GPU: None, because the device is the CPU.
pub fn gpu_memory(_device: &Device) -> Option<GpuMemory> {
    None
}
