//! Convolution with 1 × 1 kernels: the product of the weights [channel_out, channel_in] with the input [channel_in,
//! position], computed by the micro-kernel. There is no im2col, because a column of the input is a position.

mod packed_blocks;
mod padded_weights;
mod weight_gradient;

use pulp::Arch;
use rayon::prelude::*;

use self::packed_blocks::pack_blocks;
use self::padded_weights::PaddedWeights;
use self::weight_gradient::WeightGradient;
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::{LeftLayout, PANEL, PANEL_BLOCK, PanelProduct};
use crate::cpu::planes::{Input, Output};
use crate::cpu::scratch::with_scratch;
use crate::cpu::vectorize::vectorize;
use crate::cpu::work_division::for_each_item;

/// The desired number of positions of one call. With so many, the weights, which every call reads once, are a small
/// part of what it reads; with not many more, the packed input still fits into the cache.
const POSITIONS_TOGETHER: usize = 256;

/// Convolution with 1 × 1 kernels as one matrix product over the channels.
#[derive(Debug)]
pub(crate) struct Pointwise;

impl ConvKernel for Pointwise {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn supports(&self, geometry: &Geometry, _: usize) -> bool {
        geometry.kernel == 1
    }

    fn images_together(&self, geometry: &Geometry, images: usize, _: usize) -> usize {
        POSITIONS_TOGETHER.div_ceil(geometry.plane().max(1)).max(1).min(images).max(1)
    }

    fn divides_its_work(&self) -> bool {
        true
    }

    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        PaddedWeights::new(geometry, weight).erased()
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        PaddedWeights::flipped(geometry, weight).erased()
    }

    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        threads: usize,
    ) {
        forward(geometry, weights.layout(), images, input, bias, out, threads);
    }

    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums {
        WeightGradientSums::new(WeightGradient::new(*geometry))
    }

    fn accumulate(
        &self,
        sums: &mut WeightGradientSums,
        images: usize,
        input: &Input<'_>,
        grad: &[f32],
        threads: usize,
    ) {
        sums.get_mut::<WeightGradient>().add(images, input, grad, threads);
    }

    fn finish(&self, geometry: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer) {
        WeightGradient::finish(geometry, &WeightGradientSums::into_vec(sums))
    }
}

/// Convolves `images` images of `input` on `threads` threads.
///
/// Each step is divided among the threads: the packing by blocks of input channels, the products by output channels,
/// and the copy to the output by images.
fn forward(
    geometry: &Geometry,
    weights: &PaddedWeights,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
    threads: usize,
) {
    let (plane, channels_out) = (geometry.plane(), geometry.channels_out);
    let padded = (images * plane).next_multiple_of(PANEL);
    let blocks_in = geometry.channels_in.div_ceil(PANEL);
    let packed_len = blocks_in * padded * PANEL;
    with_scratch(packed_len + channels_out * padded, |scratch| {
        let (packed, rows) = scratch.split_at_mut(packed_len);
        pack_blocks(images, plane, input, geometry.channels_in, packed, threads);
        let packed = &*packed;
        // A multiple of twelve rows consists of whole register tiles for every kind of vector.
        let rows_together =
            (channels_out.div_ceil(if threads > 1 { 2 * threads } else { 1 })).next_multiple_of(12).min(48);
        for_each_item(threads, rows.par_chunks_mut((rows_together * padded).max(1)).enumerate(), |(i, out)| {
            for block in 0..padded / PANEL {
                Arch::new().dispatch(PanelProduct {
                    blocks: blocks_in,
                    right: &packed[block * PANEL_BLOCK..],
                    right_step: padded * PANEL,
                    left: weights.rows_from(i * rows_together),
                    left_layout: LeftLayout::RowMajor(weights.stride()),
                    left_step: PANEL,
                    rows: out.len() / padded,
                    out: &mut out[block * PANEL..],
                    out_stride: padded,
                    accumulate: false,
                });
            }
        });
        let rows = &*rows;
        for_each_item(threads, out.images(images).into_par_iter().enumerate(), |(image, mut out)| {
            vectorize(
                #[inline(always)]
                |_| {
                    for (channel, row) in rows.chunks_exact(padded.max(1)).enumerate() {
                        let (bias, to) = (bias.map_or(0.0, |bias| bias[channel]), out.plane(0, channel));
                        to.iter_mut().zip(&row[image * plane..]).for_each(|(to, value)| *to = value + bias);
                    }
                },
            );
        });
    });
}
