//! What the CPU kernels share: f32 slices of tensors, scratch memory, the choice of the fused path.

pub(crate) mod amx;
pub(crate) mod backend;
pub(crate) mod buffer;
pub(crate) mod conv2d;
pub(crate) mod exp;
pub(crate) mod gemm;
pub(crate) mod gemm_amx;
pub(crate) mod geometry;
pub(crate) mod gradient;
pub(crate) mod group_norm;
mod ops;
pub(crate) mod planes;
pub(crate) mod reduce;
pub(crate) mod split;
pub(crate) mod squares;
pub(crate) mod transpose;
pub(crate) mod update;
pub(crate) mod vectorise;
pub(crate) mod weight_cache;

use std::cell::RefCell;

use candle_core::{CpuStorage, Error, Layout, Result, Tensor};
use rayon::prelude::*;

/// The elements of a contiguous f32 storage, in row-major order.
pub(crate) fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    let values = storage.as_slice::<f32>()?;
    match layout.contiguous_offsets() {
        Some((start, end)) => Ok(&values[start..end]),
        None => Err(Error::RequiresContiguous { op: "ddpm-ops" }.bt()),
    }
}

/// Calls `f` with the elements of a tensor, made contiguous first where it is not.
pub(crate) fn with_slice<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let tensor = tensor.contiguous()?;
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        candle_core::Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => candle_core::bail!("expected a tensor on the CPU"),
    }
}

/// The same for several tensors at once.
pub(crate) fn with_slices<const N: usize, R>(
    tensors: [&Tensor; N],
    f: impl FnOnce([&[f32]; N]) -> Result<R>,
) -> Result<R> {
    let mut owned = Vec::with_capacity(N);
    for tensor in tensors {
        owned.push(tensor.contiguous()?);
    }
    let guards: Vec<_> = owned.iter().map(Tensor::storage_and_layout).collect();
    let mut slices = [&[][..]; N];
    for (out, (storage, layout)) in slices.iter_mut().zip(&guards) {
        match &**storage {
            candle_core::Storage::Cpu(storage) => *out = slice(storage, layout)?,
            _ => candle_core::bail!("expected a tensor on the CPU"),
        }
    }
    f(slices)
}

macro_rules! scratch {
    ($name:ident, $type:ty, $zero:expr, $what:literal) => {
        #[doc = concat!("Lends `f` a thread's scratch memory of `len` ", $what, ", kept from call to call so that hot loops")]
        /// neither allocate nor fault in fresh pages. It begins with a cache line; its contents are whatever the last borrower
        /// left.
        pub(crate) fn $name<R>(len: usize, f: impl FnOnce(&mut [$type]) -> R) -> R {
            thread_local! {
                static SCRATCH: RefCell<Vec<$type>> = const { RefCell::new(Vec::new()) };
            }
            const LINE: usize = 64 / size_of::<$type>();
            // Taken out while in use: a nested borrower gets memory of its own.
            let mut scratch = SCRATCH.with(RefCell::take);
            if scratch.len() < len + LINE {
                scratch.resize(len + LINE, $zero);
            }
            let start = scratch.as_ptr().align_offset(64).min(LINE);
            let result = f(&mut scratch[start..start + len]);
            SCRATCH.with(|slot| {
                // A nested borrower may have left a longer one.
                if slot.borrow().len() < scratch.len() {
                    slot.replace(scratch);
                }
            });
            result
        }
    };
}

scratch!(with_scratch, f32, 0.0, "elements");
scratch!(with_spare, f32, 0.0, "elements");
scratch!(with_words, u32, 0, "pairs of bf16");
scratch!(with_halfwords, u16, 0, "bf16");
scratch!(with_spare_halfwords, u16, 0, "bf16");

/// Runs on what an iterator gives, on all threads or, where there is one, on this one.
pub(crate) fn each<I: IndexedParallelIterator>(threads: usize, items: I, run: impl Fn(I::Item) + Send + Sync) {
    items.with_min_len(if threads > 1 { 1 } else { usize::MAX }).for_each(run);
}

/// Divides `items` into at most `parts` runs of nearly equal length, in order. Depends on nothing else, so that sums
/// over the runs are reproducible.
pub(crate) fn runs(items: usize, parts: usize) -> Vec<std::ops::Range<usize>> {
    let parts = parts.clamp(1, items.max(1));
    (0..parts).map(|i| items * i / parts..items * (i + 1) / parts).collect()
}
