//! Convolution over all input channels.

use std::ops::Range;

use pulp::Arch;

use crate::blocked::block::{Block, LANES};
use crate::blocked::image::{BlockedImage, Padding, PlanarImage};
use crate::blocked::patches::patch_row;
use crate::blocked::row_product::{Epilogue, RowInput, RowProduct, TapWeights};
use crate::convolution_shape::{Activation, ConvolutionShape};

/// A row of a pointwise convolution, which takes any number of pixels at once. Their input stays in the cache while the
/// output channels are computed.
const POINTWISE_ROW: usize = 112;

/// The number of taps whose weights for two blocks of output channels stay in the first cache (32 KiB) while all rows
/// are computed.
const TAPS_TOGETHER: usize = 16;

/// A row of the result: its input, its first pixel and its length.
type Row<'a> = (RowInput<'a>, usize, usize);

/// A convolution with the weights in the layout of the kernels.
#[derive(Debug)]
pub(crate) struct BlockedConvolution {
    shape: ConvolutionShape,
    /// [block of output channels][tap], where a tap is (block of input channels, row and column of the kernel).
    weights: Vec<TapWeights>,
    bias: Vec<Block>,
    taps_per_block: usize,
}

impl BlockedConvolution {
    /// Packs the weights [channel_out, channel_in, row, column].
    ///
    /// A convolution of three channels, the first of a network, reads its patches as the channels of one pixel.
    pub(crate) fn new(shape: ConvolutionShape, weight: &[f32], bias: &[f32]) -> Self {
        let ConvolutionShape { channels_in, channels_out, kernel: (height, width), .. } = shape;
        let area = height * width;
        let inner = if shape.is_first() { (channels_in * area, 1) } else { (channels_in, area) };
        let taps_per_block = inner.0.div_ceil(LANES) * inner.1;
        let mut weights = vec![[[0.0; LANES]; LANES]; channels_out.div_ceil(LANES) * taps_per_block];
        for (out, row) in weight.chunks_exact(channels_in * area).enumerate() {
            for (i, weight) in row.iter().enumerate() {
                let (channel, position) = (i / inner.1, i % inner.1);
                let tap = out / LANES * taps_per_block + channel / LANES * inner.1 + position;
                weights[tap][channel % LANES][out % LANES] = *weight;
            }
        }
        Self { shape, weights, bias: blocks_of(bias), taps_per_block }
    }

    /// The convolution of an image, followed by the activation and the sum with `residual`, which has the shape of the
    /// result.
    pub(crate) fn forward(&self, image: &BlockedImage, residual: Option<&BlockedImage>) -> BlockedImage {
        let shape = &self.shape;
        let padding = shape.padding(image.height, image.width);
        let padded;
        let input = if padding.none() && shape.stride == 1 {
            image
        } else {
            padded = image.padded(&padding, shape.stride);
            &padded
        };
        let phase_width = input.width / shape.stride;
        let (height, width) = shape.output_size(image.height, image.width);
        let mut out = BlockedImage::zeros(shape.channels_out, height, width);
        let (kernel_height, kernel_width) = shape.kernel;
        let taps: Vec<usize> = (0..input.blocks())
            .flat_map(|block| (0..kernel_height).map(move |y| (block, y)))
            .flat_map(|(block, y)| (0..kernel_width).map(move |x| (block, y, x)))
            .map(|(block, y, x)| {
                block * input.plane() + y * input.width + x % shape.stride * phase_width + x / shape.stride
            })
            .collect();
        let full_taps = image.channels / LANES * kernel_height * kernel_width;
        let row = |start| RowInput {
            pixels: &input.pixels,
            taps: &taps,
            start,
            full_taps,
            last_channels: image.channels % LANES,
        };
        let plane = out.plane();
        let rows: Vec<Row<'_>> = if shape.is_pointwise() {
            let starts = (0..plane).step_by(POINTWISE_ROW);
            starts.map(|start| (row(start), start, POINTWISE_ROW.min(plane - start))).collect()
        } else {
            (0..height).map(|y| (row(y * shape.stride * input.width), y * width, width)).collect()
        };
        let residual = residual.map(|residual| &residual.pixels[..]);
        for pair in 0..out.blocks().div_ceil(2) {
            for first_tap in (0..taps.len()).step_by(TAPS_TOGETHER) {
                let taps = first_tap..(first_tap + TAPS_TOGETHER).min(taps.len());
                for row in &rows {
                    self.row(row, pair, taps.clone(), residual, &mut out);
                }
            }
        }
        out
    }

    /// The convolution of an image of three channels.
    pub(crate) fn forward_planar(&self, image: &PlanarImage) -> BlockedImage {
        let shape = &self.shape;
        let (height, width) = shape.output_size(image.height, image.width);
        let mut out = BlockedImage::zeros(shape.channels_out, height, width);
        let values = shape.channels_in * shape.kernel.0 * shape.kernel.1;
        let mut patches = vec![[0.0; LANES]; values.div_ceil(LANES) * width];
        let taps: Vec<usize> = (0..values.div_ceil(LANES)).map(|block| block * width).collect();
        for y in 0..height {
            patch_row(shape, image, y, width, &mut patches);
            let (full_taps, last_channels) = (values / LANES, values % LANES);
            let input = RowInput { pixels: &patches, taps: &taps, start: 0, full_taps, last_channels };
            for pair in 0..out.blocks().div_ceil(2) {
                self.row(&(input, y * width, width), pair, 0..taps.len(), None, &mut out);
            }
        }
        out
    }

    /// The block of output channels `block` of a pointwise convolution, written with a border of zeros.
    pub(crate) fn pointwise_block(&self, image: &BlockedImage, block: usize, padding: &Padding, out: &mut [Block]) {
        let taps: Vec<usize> = (0..image.blocks()).map(|block| block * image.plane()).collect();
        let (_, padded_width) = padding.padded(image.height, image.width);
        for y in 0..image.height {
            let input = RowInput {
                pixels: &image.pixels,
                taps: &taps,
                start: y * image.width,
                full_taps: image.channels / LANES,
                last_channels: image.channels % LANES,
            };
            let start = (y + padding.top) * padded_width + padding.left;
            Arch::new().dispatch(RowProduct {
                input,
                weights: [self.block_weights(block)],
                bias: [&self.bias[block]],
                residual: None,
                out: [&mut out[start..start + image.width]],
                accumulate: false,
                epilogue: self.shape.activation.epilogue(),
            });
        }
    }

    fn block_weights(&self, block: usize) -> &[TapWeights] {
        &self.weights[block * self.taps_per_block..(block + 1) * self.taps_per_block]
    }

    /// The sums of some taps of one row, for a pair of blocks of output channels, or for the last block if it has no
    /// other. The first taps replace what `out` holds, and the last ones are followed by activation and residual.
    fn row(
        &self,
        &(input, start, length): &Row<'_>,
        pair: usize,
        taps: Range<usize>,
        residual: Option<&[Block]>,
        out: &mut BlockedImage,
    ) {
        let (first, plane) = (2 * pair, out.plane());
        let is_last = taps.end == self.taps_per_block;
        let epilogue = if is_last { self.shape.activation.epilogue() } else { Epilogue::NONE };
        let residual = residual.filter(|_| is_last);
        let accumulate = taps.start > 0;
        let full_taps = input.full_taps.saturating_sub(taps.start);
        let input = RowInput { taps: &input.taps[taps.clone()], full_taps, ..input };
        let (one, other) = out.pixels[first * plane..].split_at_mut(plane);
        let weights = |block: usize| &self.block_weights(block)[taps.clone()];
        let residual_row = |block: usize| residual.map(|r| &r[block * plane + start..][..length]);
        if first + 1 < self.bias.len() {
            Arch::new().dispatch(RowProduct {
                input,
                weights: [weights(first), weights(first + 1)],
                bias: [&self.bias[first], &self.bias[first + 1]],
                residual: residual_row(first).zip(residual_row(first + 1)).map(|(one, other)| [one, other]),
                out: [&mut one[start..start + length], &mut other[start..start + length]],
                accumulate,
                epilogue,
            });
        } else {
            Arch::new().dispatch(RowProduct {
                input,
                weights: [weights(first)],
                bias: [&self.bias[first]],
                residual: residual_row(first).map(|row| [row]),
                out: [&mut one[start..start + length]],
                accumulate,
                epilogue,
            });
        }
    }
}

/// Values of channels in blocks; zero beyond the last.
pub(crate) fn blocks_of(values: &[f32]) -> Vec<Block> {
    let block = |values: &[f32]| {
        let mut block = [0.0; LANES];
        block[..values.len()].copy_from_slice(values);
        block
    };
    values.chunks(LANES).map(block).collect()
}

impl Activation {
    pub(crate) fn epilogue(self) -> Epilogue {
        match self {
            Self::None => Epilogue::NONE,
            Self::Relu => Epilogue { low: 0.0, high: f32::INFINITY },
            Self::Relu6 => Epilogue { low: 0.0, high: 6.0 },
        }
    }
}
