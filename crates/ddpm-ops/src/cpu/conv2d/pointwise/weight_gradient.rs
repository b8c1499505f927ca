//! The gradient of the weights of a convolution with 1 × 1 kernels.

use pulp::Arch;
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::pointwise::packed_blocks::{TransposeBlocks, pack_blocks};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::{LeftLayout, PANEL, PANEL_BLOCK, PanelProduct};
use crate::cpu::planes::Input;
use crate::cpu::scratch::with_scratch;
use crate::cpu::transpose_8x8::dispatch;
use crate::cpu::vectorize::vectorize;
use crate::cpu::work_division::for_each_item;

/// The gradients of weight and bias, summed over images.
#[derive(Debug)]
pub(super) struct WeightGradient {
    geometry: Geometry,
    /// [block of 16 input channels][output channel][16 input channels]
    sums: Buffer,
    bias: Buffer,
    /// False until the first images are added; the contents of `sums` are arbitrary until then.
    begun: bool,
}

impl WeightGradient {
    pub(super) fn new(geometry: Geometry) -> Self {
        let sums = Buffer::new(geometry.channels_in.div_ceil(PANEL) * geometry.channels_out * PANEL);
        Self { geometry, sums, bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds the contribution of `images` images of `input` and of the output's gradient `grad` [image, channel_out,
    /// height, width]: the product of the gradient [channel_out, position] with the transposed input [position,
    /// channel_in].
    pub(super) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let (Geometry { channels_in, channels_out, .. }, plane) = (self.geometry, self.geometry.plane());
        let accumulate = std::mem::replace(&mut self.begun, true);
        let block_stride = (images * plane).next_multiple_of(PANEL) * PANEL;
        let (blocks_in, blocks_out) = (channels_in.div_ceil(PANEL), channels_out.div_ceil(PANEL));
        with_scratch((blocks_in + blocks_out) * block_stride, |scratch| {
            let (packed, packed_grad) = scratch.split_at_mut(blocks_in * block_stride);
            pack_blocks(images, plane, input, channels_in, packed, threads);
            let channel_blocks = packed.par_chunks_exact_mut(block_stride.max(1));
            for_each_item(threads, channel_blocks, |block| dispatch(TransposeBlocks(block)));
            let grad = Input::plain(grad, channels_out, plane);
            pack_blocks(images, plane, &grad, channels_out, packed_grad, threads);
            let (packed, packed_grad) = (&*packed, &*packed_grad);
            let blocks_of_bias = packed_grad.chunks_exact(block_stride.max(1)).zip(self.bias.chunks_mut(PANEL));
            for (blocks, bias) in blocks_of_bias {
                vectorize(
                    #[inline(always)]
                    |_| add_channel_sums(blocks, bias),
                );
            }
            for_each_item(
                threads,
                self.sums.par_chunks_exact_mut((channels_out * PANEL).max(1)).enumerate(),
                |(block, sums)| {
                    for (block_out, sums) in sums.chunks_mut(PANEL_BLOCK).enumerate() {
                        Arch::new().dispatch(PanelProduct {
                            blocks: block_stride / PANEL_BLOCK,
                            right: &packed[block * block_stride..],
                            right_step: PANEL_BLOCK,
                            left: &packed_grad[block_out * block_stride..],
                            left_layout: LeftLayout::RowMajor(PANEL),
                            left_step: PANEL_BLOCK,
                            rows: sums.len() / PANEL,
                            out: sums,
                            out_stride: PANEL,
                            accumulate,
                        });
                    }
                },
            );
        });
    }

    /// The gradients of weight [channel_out, channel_in, 1, 1] and bias `[channel_out]`: the sums of all threads, added
    /// in order.
    pub(super) fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        let (mut weight, mut bias) = (Buffer::zeros(channels_out * channels_in), Buffer::zeros(channels_out));
        for sums in all.iter().filter(|sums| sums.begun) {
            for (channel, weight) in weight.chunks_exact_mut(channels_in.max(1)).enumerate() {
                for (block, weight) in weight.chunks_mut(PANEL).enumerate() {
                    let sums = &sums.sums[(block * channels_out + channel) * PANEL..];
                    weight.iter_mut().zip(sums).for_each(|(weight, sum)| *weight += sum);
                }
            }
            bias.iter_mut().zip(&sums.bias[..]).for_each(|(sum, more)| *sum += more);
        }
        (weight, bias)
    }
}

/// Adds the sum of each channel over all blocks, [block][16 channels][16 positions], to `sums`.
#[inline(always)]
fn add_channel_sums(blocks: &[f32], sums: &mut [f32]) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let mut lanes = [0.0; PANEL];
        for block in blocks.chunks_exact(PANEL_BLOCK) {
            lanes.iter_mut().zip(&block[row * PANEL..][..PANEL]).for_each(|(lane, value)| *lane += value);
        }
        *sum += lanes.iter().sum::<f32>();
    }
}
