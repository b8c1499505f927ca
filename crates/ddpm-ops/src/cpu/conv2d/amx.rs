//! Convolution on AMX without im2col.
//!
//! The input is packed as padded planes (`padded_planes`), where the inputs of all positions at one tap are one slice.
//! Output and input gradient are products of the packed weights with these slices: the rows are output channels, the
//! columns are positions, and each step adds one tap of 32 input channels. Their factors are split into three bf16
//! parts, which is as exact as f32. The gradient of the weights (`weight_gradient`) multiplies planes with planes: its
//! terms are positions.

mod amx_weights;
mod packing;
mod weight_gradient;

use self::amx_weights::{AmxWeights, EXACT_PARTS};
use self::packing::{for_width, pack_channel_pairs, parts, plane_stride};
use self::weight_gradient::WeightGradient;
use crate::cpu::amx::{self, BLOCK, DEPTH, Factor, Initial, OutputBlock, StepOffsets, TILE, TileUnit};
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::conv2d::padded_planes::PaddedPlanes;
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::scratch::{with_bf16_pairs, with_scratch};
use crate::cpu::vectorize::vectorize;

/// Convolution on AMX, the matrix unit of Intel's server processors, with f32 numbers as sums of bf16 parts.
#[derive(Debug)]
pub(crate) struct Amx;

impl ConvKernel for Amx {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn supports(&self, _: &Geometry, _: usize) -> bool {
        amx::available()
    }

    fn images_together(&self, geometry: &Geometry, images: usize, threads: usize) -> usize {
        PaddedPlanes::images_together(geometry, images, threads)
    }

    fn divides_its_work(&self) -> bool {
        false
    }

    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        AmxWeights::new(geometry, weight).erased()
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        AmxWeights::flipped(geometry, weight).erased()
    }

    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        _: usize,
    ) {
        forward(geometry, weights.layout(), images, input, bias, out);
    }

    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums {
        WeightGradientSums::new(WeightGradient::new(*geometry))
    }

    fn accumulate(&self, sums: &mut WeightGradientSums, images: usize, input: &Input<'_>, grad: &[f32], _: usize) {
        sums.get_mut::<WeightGradient>().add(images, input, grad);
    }

    fn finish(&self, geometry: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer) {
        WeightGradient::finish(geometry, &WeightGradientSums::into_vec(sums))
    }
}

/// Convolves `images` images of `input` on this thread.
fn forward(
    geometry: &Geometry,
    weights: &AmxWeights,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
) {
    let plane = geometry.plane();
    let (channels_in, channels_out) = (weights.channels_in(), weights.channels_out());
    let planes = PaddedPlanes::new(geometry, images);
    let Some(tiles) = TileUnit::configure() else { unreachable!("`Amx::supports` has returned true") };
    let stride = plane_stride(planes.len(2 * BLOCK));
    let rows = channels_in.div_ceil(DEPTH) * TILE;
    let steps_of_taps = (0..rows / TILE).flat_map(|chunk| planes.taps().map(move |tap| chunk * TILE * stride + tap));
    let offsets = StepOffsets::new(steps_of_taps, size_of::<u32>());
    with_bf16_pairs(EXACT_PARTS * rows * stride, |packed| {
        with_scratch(2 * planes.height * planes.width, |scratch| {
            vectorize(
                #[inline(always)]
                |_| {
                    let to = parts::<_, EXACT_PARTS>(packed);
                    for_width!(
                        planes.width,
                        pack_channel_pairs::<EXACT_PARTS>(&planes, input, channels_in, stride, to, scratch)
                    );
                },
            );
        });
        let parts = std::array::from_fn(|i| &packed[i * rows * stride..(i + 1) * rows * stride]);
        let input_tiles = |first, tile_stride| Factor { parts, first, tile_stride, row_stride: stride };
        for block in 0..channels_out.div_ceil(BLOCK) {
            let channels = block * BLOCK..channels_out.min((block + 1) * BLOCK);
            let mut rows_of_bias = [0.0; BLOCK * TILE];
            let initial = match bias {
                None => Initial::Zero,
                Some(bias) => {
                    for (row, bias) in rows_of_bias.chunks_exact_mut(TILE).zip(&bias[channels.clone()]) {
                        row.fill(*bias);
                    }
                    Initial::Rows(&rows_of_bias)
                }
            };
            let a = weights.block(block);
            let step = BLOCK * TILE;
            // If blocks of positions consist of whole or half lines, and the block of channels is complete and lies in
            // one tensor, the products are stored in the output itself. Otherwise they are stored in scratch memory and
            // copied.
            let lines = lines_per_block(&planes).filter(|_| channels.len() == BLOCK);
            if let Some(lines) = lines.filter(|_| out.block(0, channels.clone()).is_some()) {
                for image in 0..planes.images {
                    let Some((values, start)) = out.block(image, channels.clone()) else { return };
                    for from in (0..plane).step_by(BLOCK) {
                        let first = planes.line(image, from / planes.width) + from % planes.width;
                        let b = input_tiles(first, if lines == 2 { planes.line_stride() } else { TILE });
                        let to = OutputBlock {
                            values: &mut *values,
                            first: start + from,
                            tile_stride: TILE,
                            row_stride: plane,
                        };
                        tiles.multiply(a, step, b, &offsets, to, initial);
                    }
                }
            } else {
                let columns = planes.positions().next_multiple_of(BLOCK);
                let row = plane_stride(columns);
                with_scratch(BLOCK * row, |sums| {
                    for first in (0..columns).step_by(BLOCK) {
                        let to = OutputBlock { values: sums, first, tile_stride: TILE, row_stride: row };
                        tiles.multiply(a, step, input_tiles(first, TILE), &offsets, to, initial);
                    }
                    for (channel, sums) in channels.zip(sums.chunks_exact(row)) {
                        for_width!(planes.width, unpack_positions::<EXACT_PARTS>(&planes, sums, channel, out));
                    }
                });
            }
        }
    });
}

/// Copies the sums of one channel to the output, without the positions between lines and images.
fn unpack_positions<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    sums: &[f32],
    channel: usize,
    out: &mut Output<'_>,
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    for image in 0..planes.images {
        for (y, line) in out.plane(image, channel).chunks_exact_mut(width).enumerate() {
            line.copy_from_slice(&sums[planes.line(image, y)..][..width]);
        }
    }
}

/// The number of lines that a block of 32 positions touches, if blocks do not straddle lines: 1 if a line is one or
/// several blocks, 2 if a block is two lines of 16.
fn lines_per_block(planes: &PaddedPlanes) -> Option<usize> {
    match planes.width {
        width if width.is_multiple_of(BLOCK) => Some(1),
        TILE if planes.height.is_multiple_of(2) => Some(2),
        _ => None,
    }
}
