//! Queries of the CUDA driver.

use candle_core::cuda_backend::cudarc::driver::CudaContext;
use candle_core::{Device, Error, Result};

/// The number of GPUs that this process may use.
///
/// # Errors
/// When there is no working driver or no GPU.
pub(crate) fn count() -> Result<usize> {
    let count = CudaContext::device_count().map_err(Error::wrap)?;
    Ok(usize::try_from(count).unwrap_or(0))
}

/// Opens the GPU with this index.
///
/// # Errors
/// When there is no such GPU, or it cannot be initialized.
pub(crate) fn open(index: usize) -> Result<Device> {
    ddpm_ops::open_gpu(index)
}

/// The model name of the GPU. `None` if the device is not a GPU, or no longer responds.
pub(crate) fn model(device: &Device) -> Option<String> {
    device.as_cuda_device().ok()?.cuda_stream().context().name().ok()
}
