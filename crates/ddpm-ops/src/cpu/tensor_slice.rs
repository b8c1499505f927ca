//! The elements of candle's CPU tensors as slices of f32.

use candle_core::{CpuStorage, DType, Error, Layout, Result, Storage, Tensor, bail};

/// The elements of a contiguous f32 storage, in row-major order.
///
/// # Errors
/// When the storage is not f32 or the layout is not contiguous.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(Error::RequiresContiguous { op: "ddpm-ops" }.bt()),
    }
}

/// The tensor as contiguous f32; without a copy if it is both already.
fn contiguous_f32(tensor: &Tensor) -> Result<Tensor> {
    tensor.to_dtype(DType::F32)?.contiguous()
}

/// Calls `f` with the elements of a tensor in row-major order. A tensor of another dtype, or one that is not
/// contiguous, is copied first.
///
/// # Errors
/// When the tensor is not on the CPU, and those of `f`.
pub(crate) fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = contiguous_f32(tensor)?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("expected a tensor on the CPU, found one on another device"),
    }
}

/// Calls `f` with the elements of several tensors, as [`with_slice`] does with those of one.
///
/// # Errors
/// When a tensor is not on the CPU, and those of `f`.
pub(crate) fn with_slices<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let mut owned = Vec::with_capacity(N);
    for tensor in tensors {
        owned.push(contiguous_f32(tensor)?);
    }
    let guards: Vec<_> = owned.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (out, (storage, layout)) in slices.iter_mut().zip(&guards) {
        match &**storage {
            Storage::Cpu(storage) => *out = slice(storage, layout)?,
            _ => bail!("expected a tensor on the CPU, found one on another device"),
        }
    }
    f(slices)
}
