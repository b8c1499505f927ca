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

/// What its maker calls it; None of a device that is no GPU, or that does not answer any more.
pub(crate) fn model(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}
