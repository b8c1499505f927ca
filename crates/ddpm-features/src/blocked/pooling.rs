//! Pooling of images with channels in blocks.

use pulp::Arch;

use crate::blocked::block::{Block, LANES};
use crate::blocked::image::BlockedImage;

/// The largest value of every 3 × 3 window. Windows start every `stride` pixels, and `padding` pixels outside.
pub(crate) fn max_pool_3x3(image: &BlockedImage, stride: usize, padding: usize) -> BlockedImage {
    let pool = |window: &mut dyn Iterator<Item = &Block>| {
        window.fold([f32::NEG_INFINITY; LANES], |largest, pixel| std::array::from_fn(|i| largest[i].max(pixel[i])))
    };
    pool_3x3(image, stride, padding, pool)
}

/// The mean of the pixels of every 3 × 3 window around a pixel. Pixels outside of the image do not count.
pub(crate) fn average_pool_3x3(image: &BlockedImage) -> BlockedImage {
    let pool = |window: &mut dyn Iterator<Item = &Block>| {
        let mut count = 0.0;
        let sum = window.fold([0.0; LANES], |sum: Block, pixel| {
            count += 1.0;
            std::array::from_fn(|i| sum[i] + pixel[i])
        });
        sum.map(|sum| sum / count)
    };
    pool_3x3(image, 1, 1, pool)
}

fn pool_3x3(
    image: &BlockedImage,
    stride: usize,
    padding: usize,
    pool: impl Fn(&mut dyn Iterator<Item = &Block>) -> Block,
) -> BlockedImage {
    let size = |length: usize| (length + 2 * padding - 3) / stride + 1;
    let (height, width) = (size(image.height), size(image.width));
    let mut out = BlockedImage::zeros(image.channels, height, width);
    let range = |position: usize, length: usize| {
        let start = position * stride;
        start.saturating_sub(padding)..(start + 3 - padding).min(length)
    };
    for block in 0..image.blocks() {
        let from = image.block(block);
        for y in 0..height {
            let rows = range(y, image.height);
            for x in 0..width {
                let columns = range(x, image.width);
                let mut window = rows.clone().flat_map(|y| &from[y * image.width..][columns.clone()]);
                out.pixels[(block * height + y) * width + x] = pool(&mut window);
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
