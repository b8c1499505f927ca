//! Pooling of images with channels in blocks.

use pulp::Arch;

use crate::blocked::block::{Block, LANES};
use crate::blocked::image::BlockedImage;

/// The largest value of every 3 × 3 window. Windows start every `stride` pixels, and `padding` pixels outside.
pub(crate) fn max_pool_3x3(image: &BlockedImage, stride: usize, padding: usize) -> BlockedImage {
    // What is outside of the image takes no part.
    let largest = |a: Block, b: &Block| std::array::from_fn(|i| a[i].max(b[i]));
    pool_3x3(image, stride, padding, f32::NEG_INFINITY, largest, |largest, _| largest)
}

/// The mean of the pixels of every 3 × 3 window around a pixel. Pixels outside of the image do not count.
pub(crate) fn average_pool_3x3(image: &BlockedImage) -> BlockedImage {
    let add = |a: Block, b: &Block| std::array::from_fn(|i| a[i] + b[i]);
    pool_3x3(image, 1, 1, 0.0, add, |sum, count| sum.map(|sum| sum / count as f32))
}

/// Combines the pixels of every window with `combine`, from `start` on; `finish` takes the result and their number.
fn pool_3x3(
    image: &BlockedImage,
    stride: usize,
    padding: usize,
    start: f32,
    combine: impl Fn(Block, &Block) -> Block,
    finish: impl Fn(Block, usize) -> Block,
) -> BlockedImage {
    let size = |length: usize| (length + 2 * padding - 3) / stride + 1;
    let (height, width) = (size(image.height), size(image.width));
    let mut out = BlockedImage::zeros(image.channels, height, width);
    let range = |position: usize, length: usize| {
        let start = position * stride;
        start.saturating_sub(padding)..(start + 3 - padding).min(length)
    };
    // The combination of three rows, whose columns are combined after them.
    let mut rows = vec![[start; LANES]; image.width];
    for block in 0..image.blocks() {
        let from = image.block(block);
        for y in 0..height {
            let ys = range(y, image.height);
            rows.fill([start; LANES]);
            for y in ys.clone() {
                for (row, pixel) in rows.iter_mut().zip(&from[y * image.width..(y + 1) * image.width]) {
                    *row = combine(*row, pixel);
                }
            }
            let to = &mut out.pixels[(block * height + y) * width..][..width];
            for (x, to) in to.iter_mut().enumerate() {
                let xs = range(x, image.width);
                let count = ys.len() * xs.len();
                *to = finish(rows[xs].iter().fold([start; LANES], &combine), count);
            }
        }
    }
    out
}

/// The mean of all pixels of every channel.
pub(crate) fn spatial_mean(image: &BlockedImage) -> Vec<f32> {
    let mut means = Vec::with_capacity(image.blocks() * LANES);
    Arch::new().dispatch(
        #[inline(always)]
        || {
            for block in 0..image.blocks() {
                let mut sums = [0.0_f32; LANES];
                for pixel in image.block(block) {
                    for (sum, value) in sums.iter_mut().zip(pixel) {
                        *sum += value;
                    }
                }
                means.extend(sums.map(|sum| sum / image.plane() as f32));
            }
        },
    );
    means.truncate(image.channels);
    means
}
