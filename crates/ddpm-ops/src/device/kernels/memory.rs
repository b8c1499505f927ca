//! Tensors whose memory kernels read and write.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::device::kernels::gpu;

/// A tensor with arbitrary contents, for a kernel to fill.
pub(crate) fn uninitialized(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: every caller passes the tensor to a kernel that writes all of its elements before anything reads them.
    #[allow(unsafe_code, reason = "zeros would be written only to be overwritten")]
    unsafe {
        Tensor::empty(shape, dtype, device)
    }
}

/// The address of a tensor's first element, for reading.
///
/// # Errors
/// When the tensor is not contiguous, or of a type or on a device that kernels do not support.
pub(crate) fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("expected a contiguous input for a GPU kernel, found shape {:?}", tensor.dims())
    };
    let size = tensor.dtype().size_in_bytes();
    let base = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::BF16(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::I64(values)) => values.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => gpu::address(storage)?,
        _ => bail!("expected an input of type f32, bf16 or i64 for a GPU kernel, found {:?}", tensor.dtype()),
    };
    Ok(base + (start * size) as u64)
}

/// The address of an optional tensor's first element, for reading, or 0 for None.
pub(super) fn optional_address(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), address)
}

/// The address of a tensor's first element, for writing. The tensor is [`uninitialized`] or is updated in place.
///
/// # Errors
/// When the tensor is not contiguous, or of a type or on a device that kernels do not support.
pub(crate) fn address_to_write(tensor: &Tensor) -> Result<u64> {
    /// An operation that candle calls with mutable access to the storage, and that notes the address.
    struct Address(Mutex<u64>);

    impl Address {
        fn set(&self, base: u64, layout: &Layout, size: usize) -> Result<()> {
            let Some((start, _)) = layout.contiguous_offsets() else {
                bail!("expected a contiguous output for a GPU kernel, found shape {:?}", layout.dims())
            };
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = base + (start * size) as u64;
            Ok(())
        }
    }

    impl InplaceOp1 for Address {
        fn name(&self) -> &'static str {
            "address"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            match storage {
                CpuStorage::F32(values) => self.set(values.as_mut_ptr() as u64, layout, 4),
                CpuStorage::BF16(values) => self.set(values.as_mut_ptr() as u64, layout, 2),
                _ => bail!("expected an output of type f32 or bf16 for a GPU kernel"),
            }
        }

        #[cfg(feature = "cuda")]
        fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
            use candle_core::backend::BackendStorage;
            let size = storage.dtype().size_in_bytes();
            self.set(gpu::address_to_write(storage)?, layout, size)
        }
    }

    let address = Address(Mutex::new(0));
    tensor.inplace_op1(&address)?;
    Ok(address.0.into_inner().unwrap_or_else(PoisonError::into_inner))
}
