//! Page-locked buffers for copies to a GPU.
#![allow(unsafe_code, reason = "page-locked memory is allocated without contents")]

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use candle_core::cuda_backend::cudarc::driver::sys::CUstreamCaptureStatus;
use candle_core::cuda_backend::cudarc::driver::{DeviceRepr, PinnedHostSlice, ValidAsZeroBits};
use candle_core::cuda_backend::{CudaDType, DeviceId};
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CudaDevice, CudaStorage, Device, Error, Result, Storage, Tensor};

/// Number of buffers of one size: the copies of that size that may be under way at once. A training step makes two, of
/// images and of noise.
const BUFFERS: usize = 8;

/// The buffers of each GPU and number of elements. The first of a queue is the one that was used the longest time ago.
type Buffers<T> = Mutex<Option<HashMap<(DeviceId, usize), VecDeque<PinnedHostSlice<T>>>>>;

static OF_F32: Buffers<f32> = Mutex::new(None);
static OF_I64: Buffers<i64> = Mutex::new(None);

/// A copy of the tensor on a GPU; `None` for tensors and devices that have no page-locked buffers.
pub(super) fn copy(tensor: &Tensor, device: &Device) -> Result<Option<Tensor>> {
    let Device::Cuda(device) = device else { return Ok(None) };
    let (storage, layout) = tensor.storage_and_layout();
    let (Storage::Cpu(storage), Some((from, to))) = (&*storage, layout.contiguous_offsets()) else { return Ok(None) };
    let copy = match storage {
        CpuStorage::F32(values) if from < to => copy_through(&OF_F32, &values[from..to], device)?,
        CpuStorage::I64(values) if from < to => copy_through(&OF_I64, &values[from..to], device)?,
        _ => return Ok(None),
    };
    Ok(Some(Tensor::from_storage(Storage::Cuda(copy), layout.shape().clone(), BackpropOp::none(), false)))
}

fn copy_through<T>(buffers: &Buffers<T>, values: &[T], device: &CudaDevice) -> Result<CudaStorage>
where
    T: DeviceRepr + ValidAsZeroBits + CudaDType + Copy,
{
    let stream = device.cuda_stream();
    let status = stream.capture_status().map_err(Error::wrap)?;
    if status != CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE {
        return Err(Error::msg("a captured step cannot copy from the CPU"));
    }
    let mut buffers = buffers.lock().unwrap_or_else(PoisonError::into_inner);
    let queue = buffers.get_or_insert_default().entry((device.id(), values.len())).or_default();
    let mut buffer = if queue.len() < BUFFERS {
        // SAFETY: the buffer is filled below, before anything reads it.
        unsafe { stream.context().alloc_pinned::<T>(values.len()) }.map_err(Error::wrap)?
    } else {
        queue.pop_front().ok_or_else(|| Error::msg("a queue of page-locked buffers is empty"))?
    };
    // This waits until the buffer's last copy is complete.
    buffer.as_mut_slice().map_err(Error::wrap)?.copy_from_slice(values);
    let copy = stream.clone_htod(&buffer).map_err(Error::wrap)?;
    queue.push_back(buffer);
    Ok(CudaStorage::wrap_cuda_slice(copy, device.clone()))
}
