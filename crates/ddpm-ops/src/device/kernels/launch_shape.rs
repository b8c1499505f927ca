//! The division of work among the blocks and threads of a launch.

use candle_core::{Error, Result, Tensor, bail};

use crate::device::kernels::elements::Elements;

/// The number of threads of a block, which has to agree with `THREADS` in `kernels.cu`.
const THREADS: usize = 256;

/// The number of blocks along x, y and z, and of threads of a block along x and y.
pub(super) type LaunchShape = ([u32; 3], [u32; 2]);

/// `ImageShape` in `kernels.cu`.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub(super) struct ImageShape {
    pub(super) positions: i32,
    pub(super) channels: i32,
    /// The number of positions that a block processes.
    pub(super) block_positions: i32,
}

/// The division of images [image, position, channel] among threads.
#[derive(Debug, Clone, Copy)]
pub(super) struct ImageDivision {
    pub(super) elements: Elements,
    pub(super) image: ImageShape,
    pub(super) images: usize,
    /// The number of blocks among which the positions of an image are divided.
    pub(super) blocks: usize,
    /// The number of blocks among which the channels are divided.
    channel_blocks: usize,
    /// The number of threads of a block that process different channels.
    channel_threads: usize,
}

impl ImageDivision {
    /// The division of a tensor [image, …, channel] and of others of the same shape.
    ///
    /// It depends on the shape and the type alone, so that sums are computed in the same order every time.
    pub(super) fn of(tensor: &Tensor, others: &[Option<&Tensor>]) -> Result<Self> {
        /// The desired number of blocks: enough for every multiprocessor of a large GPU to run several.
        const BLOCKS: usize = 1024;
        /// The smallest number of positions that a thread should process, so that the cost of a block is small in
        /// comparison.
        const MIN_POSITIONS: usize = 4;
        let dims = tensor.dims();
        let [images, inner @ .., channels] = dims else { bail!("expected [batch, …, channel], found {dims:?}") };
        let (images, channels) = (*images, *channels);
        let positions: usize = inner.iter().product();
        let all: Vec<&Tensor> = [Some(tensor)].iter().chain(others).copied().flatten().collect();
        let elements = Elements::of(&all, channels);
        let packs = channels.div_ceil(elements.pack);
        let channel_threads = packs.next_power_of_two().min(32);
        let channel_blocks = packs.div_ceil(channel_threads);
        let position_threads = THREADS / channel_threads;
        let wanted =
            BLOCKS.div_ceil(images * channel_blocks).min(positions.div_ceil(MIN_POSITIONS * position_threads)).max(1);
        let block_positions = positions.div_ceil(wanted).max(1);
        let blocks = positions.div_ceil(block_positions).max(1);
        let image = ImageShape {
            positions: to_i32(positions)?,
            channels: to_i32(channels)?,
            block_positions: to_i32(block_positions)?,
        };
        Ok(Self { elements, image, images, blocks, channel_blocks, channel_threads })
    }

    /// The launch shape. Blocks are [channels, positions, images].
    pub(super) fn shape(&self) -> LaunchShape {
        let grid = [self.channel_blocks as u32, self.blocks as u32, self.images as u32];
        (grid, [self.channel_threads as u32, (THREADS / self.channel_threads) as u32])
    }

    pub(super) fn channels(&self) -> usize {
        self.image.channels as usize
    }
}

/// A size as the i32 that kernels use.
///
/// # Errors
/// When it exceeds the range of i32.
pub(crate) fn to_i32(n: usize) -> Result<i32> {
    i32::try_from(n)
        .map_err(|_| Error::msg(format!("expected a size of at most {} for a GPU kernel, found {n}", i32::MAX)))
}

/// The distance in elements between the offsets of two images: 0 for [1, channel], which all images share, and the
/// number of channels for [image, channel].
pub(super) fn offset_stride(offset: Option<&Tensor>) -> Result<i32> {
    match offset {
        Some(offset) if offset.dim(0)? > 1 => to_i32(offset.dim(1)?),
        _ => Ok(0),
    }
}

/// The launch shape with one thread for each of `count` items.
pub(super) fn thread_per_item(count: usize) -> Result<LaunchShape> {
    Ok(([to_i32(count.div_ceil(THREADS))?.cast_unsigned(), 1, 1], [THREADS as u32, 1]))
}

/// The launch shape with one warp for each of `rows` rows: the threads of a row are adjacent along x.
pub(super) fn warp_per_row(rows: usize) -> Result<LaunchShape> {
    const WARP: usize = 32;
    let warps = THREADS / WARP;
    Ok(([to_i32(rows.div_ceil(warps))?.cast_unsigned(), 1, 1], [WARP as u32, warps as u32]))
}

/// The launch shape with one thread for each of `count` items of each image: blocks are [items, images].
pub(super) fn thread_per_item_of_image(count: usize, images: usize) -> Result<LaunchShape> {
    let ([blocks, ..], block) = thread_per_item(count)?;
    Ok(([blocks, to_i32(images)?.cast_unsigned(), 1], block))
}

/// The launch shape with one block for each of `rows` rows, and at most as many threads as a row has elements.
pub(super) fn block_per_row(rows: usize, length: usize) -> Result<LaunchShape> {
    Ok(([to_i32(rows)?.cast_unsigned(), 1, 1], [length.next_power_of_two().clamp(32, THREADS) as u32, 1]))
}
