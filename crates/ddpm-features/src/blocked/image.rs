//! Images in the two layouts of this module.

use rayon::prelude::*;

use crate::blocked::block::{Block, LANES};

/// An image of three channels, [channel][row][column], as the first layer of a network reads it.
#[derive(Debug, Clone)]
pub(crate) struct PlanarImage {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) values: Vec<f32>,
}

/// An image [channel block][row][column][16 channels]. Channels beyond the last are zero.
#[derive(Debug, Clone)]
pub(crate) struct BlockedImage {
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) pixels: Vec<Block>,
}

impl BlockedImage {
    pub(crate) fn zeros(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width, pixels: vec![[0.0; LANES]; channels.div_ceil(LANES) * height * width] }
    }

    pub(crate) fn blocks(&self) -> usize {
        self.channels.div_ceil(LANES)
    }

    /// The number of pixels of a channel block.
    pub(crate) fn plane(&self) -> usize {
        self.height * self.width
    }

    /// The pixels of a channel block.
    pub(crate) fn block(&self, block: usize) -> &[Block] {
        &self.pixels[block * self.plane()..(block + 1) * self.plane()]
    }

    /// The image with a border of zeros, for a convolution with this stride: every row holds the columns 0, s, 2 s, …
    /// of the stride s, then the columns 1, s + 1, …, so that the columns of neighboring output pixels are neighbors.
    pub(crate) fn padded(&self, padding: &Padding, stride: usize) -> Self {
        let (height, width) = padding.padded(self.height, self.width);
        let phase_width = width.div_ceil(stride);
        let row_width = stride * phase_width;
        let mut out = Self::zeros(self.channels, height, row_width);
        for block in 0..self.blocks() {
            let to = &mut out.pixels[block * height * row_width..(block + 1) * height * row_width];
            if stride == 1 {
                padding.copy_into(self.block(block), self.width, to, width);
                continue;
            }
            let rows = to.chunks_exact_mut(row_width).skip(padding.top);
            for (to, from) in rows.zip(self.block(block).chunks_exact(self.width)) {
                for (x, pixel) in from.iter().enumerate() {
                    let x = x + padding.left;
                    to[x % stride * phase_width + x / stride] = *pixel;
                }
            }
        }
        out
    }

    /// The channels of all images, in order. All but the last have a multiple of sixteen channels.
    pub(crate) fn concat(images: &[Self]) -> Self {
        let channels = images.iter().map(|image| image.channels).sum();
        let pixels = images.iter().flat_map(|image| &image.pixels).copied().collect();
        Self { channels, height: images[0].height, width: images[0].width, pixels }
    }
}

/// Rows and columns of zeros around an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Padding {
    pub(crate) top: usize,
    pub(crate) bottom: usize,
    pub(crate) left: usize,
    pub(crate) right: usize,
}

impl Padding {
    pub(crate) fn none(&self) -> bool {
        *self == Self::default()
    }

    /// Height and width with the padding.
    pub(crate) fn padded(&self, height: usize, width: usize) -> (usize, usize) {
        (height + self.top + self.bottom, width + self.left + self.right)
    }

    /// Copies rows of `width` pixels into the middle of rows of `padded_width` pixels.
    pub(crate) fn copy_into(&self, from: &[Block], width: usize, to: &mut [Block], padded_width: usize) {
        let rows = to.chunks_exact_mut(padded_width).skip(self.top);
        for (to, from) in rows.zip(from.chunks_exact(width)) {
            to[self.left..self.left + width].copy_from_slice(from);
        }
    }
}

/// Calls `forward` with every image, on all threads of the rayon pool. The results are in the order of the images.
pub(crate) fn for_each_image<I: Sync, T: Send, E: Send>(
    images: &[I],
    forward: impl Fn(&I) -> Result<T, E> + Send + Sync,
) -> Result<Vec<T>, E> {
    images.par_iter().with_max_len(1).map(forward).collect()
}
