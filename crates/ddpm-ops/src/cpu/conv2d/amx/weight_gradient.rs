//! The gradient of the weights on AMX: products of the input's planes with the output gradient's, whose terms are
//! positions.

use rayon::prelude::*;

use crate::cpu::amx::{BLOCK, DEPTH, Factor, Initial, OutputBlock, StepOffsets, TILE, TileUnit};
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::amx::packing::{for_width, pack_channels, pack_positions, parts, plane_stride};
use crate::cpu::conv2d::padded_planes::PaddedPlanes;
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::Input;
use crate::cpu::scratch::{with_bf16_pairs, with_bf16s, with_scratch, with_second_bf16s};
use crate::cpu::vectorize::vectorize;

/// The number of bf16 parts of each number. Two suffice because nothing else is computed from this gradient; the error
/// is a few 1e-6 of its values.
const APPROXIMATE_PARTS: usize = 2;

/// The gradients of weight and bias, summed over images on one thread.
#[derive(Debug)]
pub(super) struct WeightGradient {
    geometry: Geometry,
    /// [tap][block of input channels][block of output channels][32 input channels][32 output channels]
    sums: Buffer,
    bias: Vec<f32>,
    /// False until the first images are added; the contents of `sums` are arbitrary until then.
    begun: bool,
}

impl WeightGradient {
    pub(super) fn new(geometry: Geometry) -> Self {
        let blocks = geometry.channels_in.div_ceil(BLOCK) * geometry.channels_out.div_ceil(BLOCK);
        let sums = Buffer::new(geometry.taps() * blocks * BLOCK * BLOCK);
        Self { geometry, sums, bias: vec![0.0; geometry.channels_out], begun: false }
    }

    /// Adds the contribution of `images` images of `input` and of the output's gradient `grad` [image, channel_out,
    /// height, width].
    pub(super) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32]) {
        let Geometry { channels_in, channels_out, .. } = self.geometry;
        let initial = if std::mem::replace(&mut self.begun, true) { Initial::Output } else { Initial::Zero };
        let planes = PaddedPlanes::new(&self.geometry, images);
        let Some(tiles) = TileUnit::configure() else { unreachable!("`Amx::supports` has returned true") };
        let depth = planes.positions().next_multiple_of(DEPTH);
        let stride = plane_stride(planes.len(2 * DEPTH));
        let (rows_x, rows_grad) = (channels_in.next_multiple_of(BLOCK), channels_out.next_multiple_of(BLOCK));
        let (part_x, part_grad) = (rows_x * stride, rows_grad * depth / 2);
        with_bf16s(APPROXIMATE_PARTS * part_x, |packed_x| {
            with_bf16_pairs(APPROXIMATE_PARTS * part_grad, |packed_grad| {
                // Memory for half a block of channels in `pack_positions`, and for a plane in `pack_channels`.
                with_second_bf16s(APPROXIMATE_PARTS * TILE * depth, |rows| {
                    with_scratch(planes.height * planes.width, |scratch| {
                        vectorize(
                            #[inline(always)]
                            |_| {
                                let to = parts::<_, APPROXIMATE_PARTS>(packed_x);
                                for_width!(
                                    planes.width,
                                    pack_channels::<APPROXIMATE_PARTS>(
                                        &planes,
                                        input,
                                        channels_in,
                                        stride,
                                        to,
                                        scratch
                                    )
                                );
                                let (to, rows, bias) =
                                    (parts::<_, APPROXIMATE_PARTS>(packed_grad), parts(rows), &mut self.bias);
                                for_width!(
                                    planes.width,
                                    pack_positions::<APPROXIMATE_PARTS>(
                                        &planes,
                                        channels_out,
                                        grad,
                                        depth,
                                        to,
                                        rows,
                                        bias
                                    )
                                );
                            },
                        );
                    });
                });
                let blocks_out = rows_grad / BLOCK;
                let offsets = StepOffsets::new((0..depth / DEPTH).map(|step| step * TILE * BLOCK), size_of::<u32>());
                let parts_x = std::array::from_fn(|i| &packed_x[i * part_x..(i + 1) * part_x]);
                let parts_grad = std::array::from_fn(|i| &packed_grad[i * part_grad..(i + 1) * part_grad]);
                for block_in in 0..rows_x / BLOCK {
                    for block_out in 0..blocks_out {
                        let first = block_out * depth / 2 * BLOCK;
                        let b = Factor::<_, APPROXIMATE_PARTS> {
                            parts: parts_grad,
                            first,
                            tile_stride: TILE,
                            row_stride: BLOCK,
                        };
                        for (tap, offset) in planes.taps().enumerate() {
                            let first = block_in * BLOCK * stride + offset;
                            let a = Factor { parts: parts_x, first, tile_stride: TILE * stride, row_stride: stride };
                            let block = (tap * (rows_x / BLOCK) + block_in) * blocks_out + block_out;
                            let first = block * BLOCK * BLOCK;
                            let out =
                                OutputBlock { values: &mut self.sums, first, tile_stride: TILE, row_stride: BLOCK };
                            tiles.multiply(a, DEPTH, b, &offsets, out, initial);
                        }
                    }
                }
            });
        });
    }

    /// The gradients of weight [channel_out, channel_in, ky, kx] and bias `[channel_out]`: the sums of all threads,
    /// added in order.
    pub(super) fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
        let (blocks_in, blocks_out) = (channels_in.div_ceil(BLOCK), channels_out.div_ceil(BLOCK));
        let mut weight = Buffer::zeros(channels_out * channels_in * taps);
        weight.par_chunks_mut((channels_in * taps).max(1)).enumerate().for_each(|(out, weight)| {
            for sums in all.iter().filter(|sums| sums.begun) {
                for (input, weight) in weight.chunks_exact_mut(taps).enumerate() {
                    for (tap, weight) in weight.iter_mut().enumerate() {
                        let block = (tap * blocks_in + input / BLOCK) * blocks_out + out / BLOCK;
                        *weight += sums.sums[(block * BLOCK + input % BLOCK) * BLOCK + out % BLOCK];
                    }
                }
            }
        });
        let mut bias = Buffer::zeros(channels_out);
        for sums in all {
            bias.iter_mut().zip(&sums.bias).for_each(|(sum, more)| *sum += more);
        }
        (weight, bias)
    }
}
