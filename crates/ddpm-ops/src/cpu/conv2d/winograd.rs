//! Convolution with 3 × 3 kernels by Winograd's minimal filtering algorithm (Lavin & Gray 2016).
//!
//! Tiles of 4 × 4 outputs are computed from windows of 6 × 6 inputs. Windows and kernels are transformed to 36 points,
//! where the convolution is one product per pair of channels and point, so that over all channels it is 36 matrix
//! products of [tile, channel_in] with [channel_in, channel_out]. The products are then transformed to outputs. A tile
//! takes 36 multiplications per pair of channels where a direct convolution takes 144.
//!
//! All steps work on blocks of sixteen channels (`blocked_layout`), so that the transforms are done for vectors of
//! channels, and the transformed arrays are panels of the micro-kernel. The gradient of the input is the convolution
//! with the flipped weights; that of the weights (`weight_gradient`) is, at each point, the product of the transformed
//! input with the transformed output gradient over all tiles.

mod tiling;
mod transformed_filter;
mod transformed_tiles;
mod transforms;
mod weight_gradient;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use self::tiling::Tiling;
use self::transformed_filter::TransformedFilter;
use self::transformed_tiles::transform_tiles;
use self::transforms::{InputTransform, OutputTransform, POINTS, TAPS, TILE_SIDE, in_two_dimensions};
use self::weight_gradient::WeightGradient;
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::blocked_layout::BlockedLayout;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::geometry::Geometry;
use crate::cpu::micro_kernel::{LeftLayout, PANEL, PANEL_BLOCK, PanelProduct};
use crate::cpu::planes::{Input, Output};
use crate::cpu::scratch::{with_scratch, with_second_scratch};
use crate::cpu::work_division::for_each_item;

/// The desired number of tiles of one call. With so many, the weights, which every call reads once, are a small part of
/// what it reads.
const TILES_TOGETHER: usize = 64;
/// The smallest number of input and output channels. With fewer, the padding to blocks of sixteen costs more than the
/// transform saves.
const MIN_CHANNELS: usize = 8;
/// The smallest number of tiles. With fewer, reading the weights takes longer than the products, and transformed
/// weights are four times as large.
const MIN_TILES: usize = 5;

/// Convolution with 3 × 3 kernels by Winograd's minimal filtering algorithm F(4 × 4, 3 × 3).
#[derive(Debug)]
pub(crate) struct Winograd;

impl ConvKernel for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn supports(&self, geometry: &Geometry, images: usize) -> bool {
        geometry.kernel == 3
            && geometry.channels_in.min(geometry.channels_out) >= MIN_CHANNELS
            && Tiling::new(geometry, images).tiles() >= MIN_TILES
            // Compares the products at all points, plus half as many for the transforms, with those of a direct
            // convolution. Winograd is slower for planes that are small or end in incomplete tiles.
            && 3 * POINTS * Tiling::new(geometry, 1).tiles() <= 2 * TAPS * geometry.plane()
    }

    fn images_together(&self, geometry: &Geometry, images: usize, _: usize) -> usize {
        TILES_TOGETHER.div_ceil(Tiling::new(geometry, 1).tiles().max(1)).max(1).min(images).max(1)
    }

    fn divides_its_work(&self) -> bool {
        true
    }

    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        TransformedFilter::new(geometry, weight).erased()
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        TransformedFilter::flipped(geometry, weight).erased()
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
/// Each step is divided among the threads: the transform of the input by blocks of input channels, the products and
/// their transform by blocks of output channels, and the copy to the output by images.
fn forward(
    geometry: &Geometry,
    weights: &TransformedFilter,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
    threads: usize,
) {
    let (tiling, channels_out) = (Tiling::new(geometry, images), geometry.channels_out);
    let (blocks_in, blocks_out) = (geometry.channels_in.div_ceil(PANEL), channels_out.div_ceil(PANEL));
    let layout = tiling.layout(0);
    let block_out = images * layout.image_stride * PANEL;
    let transformed_len = blocks_in * tiling.block_stride();
    with_scratch(transformed_len + blocks_out * block_out, |scratch| {
        let (transformed, blocks) = scratch.split_at_mut(transformed_len);
        transform_tiles::<InputTransform, 6>(&tiling, input, geometry.channels_in, transformed, &mut [], threads);
        let transformed = &*transformed;
        for_each_item(threads, blocks.par_chunks_exact_mut(block_out.max(1)).enumerate(), |(block, out)| {
            with_second_scratch(tiling.block_stride(), |products| {
                let weights = weights.block(block);
                Arch::new().dispatch(OutputTask { tiling, layout, blocks_in, transformed, weights, products, out });
            });
        });
        let blocks = &*blocks;
        let plane = geometry.plane();
        for_each_item(threads, out.images(images).into_par_iter().enumerate(), |(image, mut out)| {
            with_second_scratch(PANEL * plane, |scratch| {
                for (block, from) in blocks.chunks_exact(block_out.max(1)).enumerate() {
                    let channels = block * PANEL..channels_out.min((block + 1) * PANEL);
                    layout.unpack((image, from), bias, channels, &mut out, scratch);
                }
            });
        });
    });
}

/// Computes the products at all points for one block of output channels, and transforms them to tiles of the output.
struct OutputTask<'a> {
    tiling: Tiling,
    layout: BlockedLayout,
    /// The number of blocks of input channels.
    blocks_in: usize,
    /// The transformed input, [block of input channels][point][tile][16].
    transformed: &'a [f32],
    /// The transformed weights of the block of output channels.
    weights: &'a [f32],
    /// Memory for the products, [point][tile][16].
    products: &'a mut [f32],
    /// The block of output channels, `[position][16]`.
    out: &'a mut [f32],
}

impl WithSimd for OutputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, layout, blocks_in, transformed, weights, products, out } = self;
        let (point_stride, lanes) = (tiling.point_stride(), S::F32_LANES);
        let weights_stride = weights.len() / POINTS;
        for (point, out) in products.chunks_exact_mut(point_stride).enumerate() {
            let product = PanelProduct {
                blocks: blocks_in,
                right: &weights[point * weights_stride..],
                right_step: PANEL_BLOCK,
                left: &transformed[point * point_stride..],
                left_layout: LeftLayout::RowMajor(PANEL),
                left_step: tiling.block_stride(),
                out,
                out_stride: PANEL,
                rows: tiling.tiles(),
                accumulate: false,
            };
            product.compute(simd);
        }
        let products = &*products;
        let mut half = [[simd.splat_f32s(0.0); TILE_SIDE]; 6];
        for (tile, start) in tiling.starts(layout).enumerate() {
            let out = &mut out[start * PANEL..];
            for lane in (0..PANEL).step_by(lanes) {
                in_two_dimensions::<OutputTransform, S, 6, TILE_SIDE>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = (6 * y + x) * point_stride + tile * PANEL + lane;
                        S::as_simd_f32s(&products[at..at + lanes]).0[0]
                    },
                    #[inline(always)]
                    |y, x, value| {
                        let at = (y * layout.line_stride + x) * PANEL + lane;
                        S::as_mut_simd_f32s(&mut out[at..at + lanes]).0[0] = value;
                    },
                );
            }
        }
    }
}
