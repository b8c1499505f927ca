//! The gradient of the weights, Gᵀ [(Bᵀ d B) ∘ (A ∂y Aᵀ)] G summed over all tiles.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::winograd::tiling::Tiling;
use crate::cpu::conv2d::winograd::transformed_tiles::transform_tiles;
use crate::cpu::conv2d::winograd::transforms::{
    FilterGradientTransform, InputTransform, OutputGradientTransform, POINTS, TAPS, TILE_SIDE, in_two_dimensions,
};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::{LeftLayout, PANEL, PANEL_BLOCK, PanelProduct};
use crate::cpu::planes::Input;
use crate::cpu::scratch::with_scratch;
use crate::cpu::work_division::for_each_item;

/// The gradients of weight and bias, summed over images in the transform domain.
#[derive(Debug)]
pub(super) struct WeightGradient {
    geometry: Geometry,
    /// [block of 16 input channels][point][output channel][16 input channels]
    sums: Buffer,
    bias: Buffer,
    /// False until the first images are added; the contents of `sums` are arbitrary until then.
    begun: bool,
}

impl WeightGradient {
    pub(super) fn new(geometry: Geometry) -> Self {
        let rows = geometry.channels_in.div_ceil(PANEL) * POINTS * geometry.channels_out;
        Self { geometry, sums: Buffer::new(rows * PANEL), bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds the contribution of `images` images of `input` and of the output's gradient `grad` [image, channel_out,
    /// height, width].
    ///
    /// At each point, this is the product of the transformed gradient [channel_out, tile] with the transformed input
    /// [tile, channel_in].
    pub(super) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let Geometry { channels_in, channels_out, height, width, .. } = self.geometry;
        let tiling = Tiling::new(&self.geometry, images);
        let accumulate = std::mem::replace(&mut self.begun, true);
        let (point_stride, block_stride) = (tiling.point_stride(), tiling.block_stride());
        let (blocks_in, blocks_out) = (channels_in.div_ceil(PANEL), channels_out.div_ceil(PANEL));
        with_scratch((blocks_in + blocks_out) * block_stride, |scratch| {
            let (transformed, transformed_grad) = scratch.split_at_mut(blocks_in * block_stride);
            transform_tiles::<InputTransform, 6>(&tiling, input, channels_in, transformed, &mut [], threads);
            let grad = Input { height, width, ..Input::plain(grad, channels_out, height * width) };
            let bias = &mut self.bias;
            transform_tiles::<OutputGradientTransform, TILE_SIDE>(
                &tiling,
                &grad,
                channels_out,
                transformed_grad,
                bias,
                threads,
            );
            let (transformed, transformed_grad) = (&*transformed, &*transformed_grad);
            let tasks = self.sums.par_chunks_exact_mut((channels_out * PANEL).max(1)).enumerate();
            for_each_item(threads, tasks, |(i, sums)| {
                let (block_in, point) = (i / POINTS, i % POINTS);
                for (block_out, sums) in sums.chunks_mut(PANEL_BLOCK).enumerate() {
                    Arch::new().dispatch(PanelProduct {
                        blocks: tiling.padded_tiles() / PANEL,
                        right: &transformed[block_in * block_stride + point * point_stride..],
                        right_step: PANEL_BLOCK,
                        left: &transformed_grad[block_out * block_stride + point * point_stride..],
                        left_layout: LeftLayout::ColumnMajor,
                        left_step: PANEL_BLOCK,
                        rows: sums.len() / PANEL,
                        out: sums,
                        out_stride: PANEL,
                        accumulate,
                    });
                }
            });
        });
    }

    /// The gradients of weight [channel_out, channel_in, 3, 3] and bias `[channel_out]`: the sums of all threads, added
    /// in order, and transformed by Gᵀ · G.
    pub(super) fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        let mut weight = Buffer::new(channels_out * channels_in * TAPS);
        let partial_sums: Vec<&[f32]> = all.iter().filter(|sums| sums.begun).map(|sums| &sums.sums[..]).collect();
        weight.par_chunks_exact_mut((channels_in * TAPS).max(1)).enumerate().for_each(|(channel, weight)| {
            Arch::new().dispatch(FilterGradientTask { sums: &partial_sums, channel, channels_out, weight });
        });
        let mut bias = Buffer::zeros(channels_out);
        for sums in all {
            bias.iter_mut().zip(&sums.bias[..]).for_each(|(sum, more)| *sum += more);
        }
        (weight, bias)
    }
}

/// Transforms the sums of one output channel to gradients of its kernels.
struct FilterGradientTask<'a> {
    sums: &'a [&'a [f32]],
    channel: usize,
    channels_out: usize,
    weight: &'a mut [f32],
}

impl WithSimd for FilterGradientTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, channel, channels_out, weight } = self;
        let mut half = [[simd.splat_f32s(0.0); 3]; 6];
        for (block, weight) in weight.chunks_mut(PANEL * TAPS).enumerate() {
            let mut taps = [[0.0; PANEL]; TAPS];
            for lane in (0..PANEL).step_by(S::F32_LANES) {
                in_two_dimensions::<FilterGradientTransform, S, 6, 3>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = ((block * POINTS + 6 * y + x) * channels_out + channel) * PANEL + lane;
                        let mut total = simd.splat_f32s(0.0);
                        for sums in sums {
                            total = simd.add_f32s(total, S::as_simd_f32s(&sums[at..at + S::F32_LANES]).0[0]);
                        }
                        total
                    },
                    #[inline(always)]
                    |y, x, value| S::as_mut_simd_f32s(&mut taps[3 * y + x][lane..]).0[0] = value,
                );
            }
            for (i, kernel) in weight.chunks_exact_mut(TAPS).enumerate() {
                kernel.iter_mut().zip(&taps).for_each(|(to, taps)| *to = taps[i]);
            }
        }
    }
}
