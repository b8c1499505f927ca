//! Copies from the CPU to a GPU that the CPU does not wait for.
//!
//! The driver copies ordinary memory only when the stream reaches the copy, and makes the CPU wait until then. It
//! copies page-locked memory by itself. A copy therefore goes through one of a few page-locked buffers of its size; a
//! buffer is filled again once its last copy is complete.

use candle_core::{Device, Result, Tensor};

/// `tensor` on `device`. A copy of contiguous f32 or i64 from the CPU to a GPU is in order with the operations that
/// follow, and the CPU does not wait for it.
///
/// # Errors
/// When the device fails.
pub fn upload(tensor: &Tensor, device: &Device) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(copy) = on_gpu::copy(tensor, device)? {
        return Ok(copy);
    }
    tensor.to_device(device)
}

#[cfg(feature = "cuda")]
#[path = "page_locked.rs"]
mod on_gpu;
