//! What the CUDA driver says about its GPUs.

use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::{Device, Error, Result};

/// How many GPUs it lets this process use.
///
/// # Errors
/// When there is no driver that works, or no GPU.
pub(crate) fn count() -> Result<usize> {
    let count = CudaContext::device_count().map_err(Error::wrap)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// The GPU of that number.
///
/// # Errors
/// When there is none, or it does not start.
pub(crate) fn open(number: usize) -> Result<Device> {
    ddpm_ops::open_gpu(number)
}

/// How much of its memory is held, by this process and others, in MiB; None of a device that is no GPU.
pub(crate) fn memory_held(device: &Device) -> Option<f64> {
    device.as_cuda_device().ok()?;
    let (free, total) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok()?;
    Some(total.saturating_sub(free) as f64 / (1u64 << 20) as f64)
}

/// What its maker calls it; None of a device that is no GPU, or that does not answer any more.
pub(crate) fn model(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}
