//! The micro-kernel of convolutions: a few pixels times one or two blocks of output channels, in registers.

use pulp::Simd;

use crate::blocked::block::{Block, LANES, vectors, vectors_mut};

/// The weights of one tap: [channel_in][16 channels_out].
pub(crate) type TapWeights = [Block; LANES];

/// One row of output pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowInput<'a> {
    /// The padded input.
    pub(crate) pixels: &'a [Block],
    /// For each tap (channel block, row and column of the kernel) the distance of its pixel from the first.
    pub(crate) taps: &'a [usize],
    /// The pixel of the first tap of the first output pixel.
    pub(crate) start: usize,
    /// The distance of the pixels of neighboring output pixels.
    pub(crate) stride: usize,
    /// Taps before this one have sixteen input channels.
    pub(crate) full_taps: usize,
    /// The input channels of the other taps.
    pub(crate) last_channels: usize,
}

/// What is done to the sums before they are stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Epilogue {
    pub(crate) low: f32,
    pub(crate) high: f32,
}

/// Computes `P` output pixels from pixel `x` on, for `B` blocks of output channels.
///
/// `weights[b]` and `bias[b]` belong to output block `b`, and `out[b]` is its row, with the residual to be added in
/// `residual[b]` if there is one.
#[inline(always)]
pub(crate) fn register_tile<S: Simd, const V: usize, const P: usize, const B: usize>(
    simd: S,
    input: &RowInput<'_>,
    weights: [&[TapWeights]; B],
    bias: [&Block; B],
    residual: Option<[&[Block]; B]>,
    out: &mut [&mut [Block]; B],
    x: usize,
    epilogue: Epilogue,
) {
    let mut sums = [[[simd.splat_f32s(0.0); V]; B]; P];
    for sums in &mut sums {
        for (sums, bias) in sums.iter_mut().zip(bias) {
            *sums = *vectors::<S, V>(bias);
        }
    }
    let first = input.start + x * input.stride;
    for (tap, distance) in input.taps.iter().enumerate() {
        let at = first + distance;
        let pixels: [&Block; P] = std::array::from_fn(|p| &input.pixels[at + p * input.stride]);
        let weights: [&TapWeights; B] = std::array::from_fn(|b| &weights[b][tap]);
        if tap < input.full_taps {
            for channel in 0..LANES {
                multiply_add::<S, V, P, B>(simd, &mut sums, &pixels, &weights, channel);
            }
        } else {
            for channel in 0..input.last_channels.min(LANES) {
                multiply_add::<S, V, P, B>(simd, &mut sums, &pixels, &weights, channel);
            }
        }
    }
    let (low, high) = (simd.splat_f32s(epilogue.low), simd.splat_f32s(epilogue.high));
    for b in 0..B {
        let row = &mut out[b][x..x + P];
        for (p, out) in row.iter_mut().enumerate() {
            let out = vectors_mut::<S, V>(out);
            for v in 0..V {
                out[v] = simd.min_f32s(simd.max_f32s(sums[p][b][v], low), high);
            }
            if let Some(residual) = residual {
                let residual = vectors::<S, V>(&residual[b][x + p]);
                for v in 0..V {
                    out[v] = simd.add_f32s(out[v], residual[v]);
                }
            }
        }
    }
}

/// Adds the products of one input channel.
#[inline(always)]
fn multiply_add<S: Simd, const V: usize, const P: usize, const B: usize>(
    simd: S,
    sums: &mut [[[S::f32s; V]; B]; P],
    pixels: &[&Block; P],
    weights: &[&TapWeights; B],
    channel: usize,
) {
    let weights: [&[S::f32s; V]; B] = std::array::from_fn(|b| vectors::<S, V>(&weights[b][channel]));
    for (sums, pixel) in sums.iter_mut().zip(pixels) {
        let value = simd.splat_f32s(pixel[channel]);
        for (sums, weights) in sums.iter_mut().zip(&weights) {
            for (sum, weight) in sums.iter_mut().zip(*weights) {
                *sum = simd.mul_add_e_f32s(*weight, value, *sum);
            }
        }
    }
}
