//! How a kernel is called: for which elements, by how many threads, with which memory.

use std::sync::Mutex;

use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Shape, Storage, Tensor, bail};

/// Threads of a block, as `THREADS` in `kernels.cu`.
const THREADS: usize = 256;

/// What a compiled set of kernels works on: elements of one type, so many at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Elements {
    pub(super) bf16: bool,
    /// Neighbours that are read at once: 16 bytes of them where they divide a row, else 1.
    pub(super) pack: usize,
}

impl Elements {
    /// For rows of that length of tensors of one type.
    pub(super) fn of(tensors: &[&Tensor], row: usize) -> Self {
        let bf16 = tensors.first().is_some_and(|tensor| tensor.dtype() == DType::BF16);
        let most = if bf16 { 8 } else { 4 };
        // A view of a part may begin between two packs.
        let even = |tensor: &&Tensor| tensor.layout().start_offset().is_multiple_of(most);
        let packed = row.is_multiple_of(most) && tensors.iter().all(even);
        Self { bf16, pack: if packed { most } else { 1 } }
    }

    /// One by one, of that type.
    pub(super) fn single(dtype: DType) -> Self {
        Self { bf16: dtype == DType::BF16, pack: 1 }
    }
}

/// `Image` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct Image {
    pub(super) positions: i32,
    pub(super) channels: i32,
    pub(super) rows: i32,
}

/// Images [batch, position, channel] divided over threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct Division {
    pub(super) elements: Elements,
    pub(super) image: Image,
    pub(super) images: usize,
    /// Blocks that the positions of an image are divided over.
    pub(super) blocks: usize,
    tiles: usize,
    across: usize,
}

impl Division {
    /// Of a tensor [batch, …, channel] and others of its shape. A function of shape and type: sums are in the same order each
    /// time.
    pub(super) fn of(tensor: &Tensor, others: &[Option<&Tensor>]) -> Result<Self> {
        let dims = tensor.dims();
        let [images, inner @ .., channels] = dims else { bail!("expected [batch, …, channel], found {dims:?}") };
        let (images, channels) = (*images, *channels);
        let positions: usize = inner.iter().product();
        let all: Vec<&Tensor> = [Some(tensor)].iter().chain(others).copied().flatten().collect();
        let elements = Elements::of(&all, channels);
        let packs = channels.div_ceil(elements.pack);
        let across = packs.next_power_of_two().min(32);
        let tiles = packs.div_ceil(across);
        let below = THREADS / across;
        // Enough blocks for every multiprocessor of a large GPU to have a few, and enough positions for a block to be worth it.
        const BLOCKS: usize = 1024;
        const LEAST: usize = 4;
        let wanted = BLOCKS.div_ceil(images * tiles).min(positions.div_ceil(LEAST * below)).max(1);
        let rows = positions.div_ceil(wanted).max(1);
        let blocks = positions.div_ceil(rows).max(1);
        let image = Image { positions: number(positions)?, channels: number(channels)?, rows: number(rows)? };
        Ok(Self { elements, image, images, blocks, tiles, across })
    }

    /// Blocks of images: [channels, positions, images].
    pub(super) fn grid(&self) -> [u32; 3] {
        [self.tiles as u32, self.blocks as u32, self.images as u32]
    }

    pub(super) fn block(&self) -> [u32; 2] {
        [self.across as u32, (THREADS / self.across) as u32]
    }

    pub(super) fn channels(&self) -> usize {
        self.image.channels as usize
    }
}

/// A number as kernels have it.
pub(in crate::device) fn number(n: usize) -> Result<i32> {
    i32::try_from(n).map_err(|_| candle_core::Error::msg(format!("{n} is more than a kernel counts")))
}

/// One thread for each of `count`: grid and block.
pub(super) fn one_each(count: usize) -> Result<([u32; 3], [u32; 2])> {
    Ok(([number(count.div_ceil(THREADS))?.cast_unsigned(), 1, 1], [THREADS as u32, 1]))
}

/// A block for each of `rows`, with threads for rows of that length.
pub(super) fn rows_of(rows: usize, length: usize) -> Result<([u32; 3], [u32; 2])> {
    Ok(([number(rows)?.cast_unsigned(), 1, 1], [length.next_power_of_two().clamp(32, THREADS) as u32, 1]))
}

/// Memory that a kernel fills.
pub(in crate::device) fn unwritten(shape: impl Into<Shape>, dtype: DType, device: &Device) -> Result<Tensor> {
    // SAFETY: all that is made here is written by a kernel before anything reads it.
    #[allow(unsafe_code, reason = "zeros would be written only to be overwritten")]
    unsafe {
        Tensor::empty(shape, dtype, device)
    }
}

/// Where a tensor's elements are, to be read. It is contiguous.
pub(in crate::device) fn address(tensor: &Tensor) -> Result<u64> {
    let (storage, layout) = tensor.storage_and_layout();
    let Some((start, _)) = layout.contiguous_offsets() else { bail!("a kernel's input is not contiguous") };
    let size = tensor.dtype().size_in_bytes();
    let base = match &*storage {
        Storage::Cpu(CpuStorage::F32(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::BF16(values)) => values.as_ptr() as u64,
        Storage::Cpu(CpuStorage::I64(values)) => values.as_ptr() as u64,
        #[cfg(feature = "cuda")]
        Storage::Cuda(storage) => super::on_gpu::address(storage)?,
        _ => bail!("no kernel reads {:?} there", tensor.dtype()),
    };
    Ok(base + (start * size) as u64)
}

/// Where the elements of an optional tensor are: 0 is nowhere.
pub(super) fn optional(tensor: Option<&Tensor>) -> Result<u64> {
    tensor.map_or(Ok(0), address)
}

/// Where a tensor's elements are, to be written: one of [`unwritten`], or one that is updated in place.
pub(in crate::device) fn address_to_write(tensor: &Tensor) -> Result<u64> {
    struct Address(Mutex<u64>);

    impl Address {
        fn set(&self, base: u64, layout: &Layout, size: usize) -> Result<()> {
            let Some((start, _)) = layout.contiguous_offsets() else { bail!("a kernel's output is not contiguous") };
            *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = base + (start * size) as u64;
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
                _ => bail!("no kernel writes that type"),
            }
        }

        #[cfg(feature = "cuda")]
        fn cuda_fwd(&self, storage: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
            use candle_core::backend::BackendStorage;
            let size = storage.dtype().size_in_bytes();
            self.set(super::on_gpu::address_to_write(storage)?, layout, size)
        }
    }

    let address = Address(Mutex::new(0));
    tensor.inplace_op1(&address)?;
    Ok(address.0.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

/// Calls a kernel. `args` is the twin of the structure that it takes, and every address in it is that of memory on `device`
/// that lives until the call returns: what a GPU frees later waits for what was called before.
pub(super) fn launch<A: Copy>(
    device: &Device,
    elements: Elements,
    kernel: &'static str,
    (grid, block): ([u32; 3], [u32; 2]),
    args: &A,
) -> Result<()> {
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(device) => super::on_gpu::launch(device, elements, kernel, grid, block, args),
        #[cfg(feature = "emulated-kernels")]
        Device::Cpu => super::emulated::launch(elements, kernel, grid, block, args),
        _ => {
            let _ = (elements, grid, block, args);
            bail!("no kernel {kernel} on this device")
        }
    }
}
