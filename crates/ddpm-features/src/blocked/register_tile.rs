//! The micro-kernel of convolutions: a few pixels times one or two blocks of output channels, in registers.

use pulp::Simd;

use crate::blocked::block::{Block, LANES, vectors, vectors_mut};
use crate::blocked::row_product::{RowProduct, TapWeights};

impl<const B: usize> RowProduct<'_, B> {
    /// Computes `P` output pixels from pixel `x` on.
    #[inline(always)]
    pub(crate) fn register_tile<S: Simd, const V: usize, const P: usize>(&mut self, simd: S, x: usize) {
        let mut sums = [[[simd.splat_f32s(0.0); V]; B]; P];
        for (p, sums) in sums.iter_mut().enumerate() {
            for (b, sums) in sums.iter_mut().enumerate() {
                *sums = *vectors::<S, V>(if self.accumulate { &self.out[b][x + p] } else { self.bias[b] });
            }
        }
        let input = &self.input;
        for (tap, distance) in input.taps.iter().enumerate() {
            let at = input.start + x + distance;
            // One address for all pixels: there are not enough registers for more.
            let pixels: &[Block; P] = input.pixels[at..at + P].try_into().expect("a slice of P pixels");
            let weights: [&TapWeights; B] = std::array::from_fn(|b| &self.weights[b][tap]);
            if tap < input.full_taps {
                for channel in 0..LANES {
                    multiply_add::<S, V, P, B>(simd, &mut sums, pixels, &weights, channel);
                }
            } else {
                for channel in 0..input.last_channels.min(LANES) {
                    multiply_add::<S, V, P, B>(simd, &mut sums, pixels, &weights, channel);
                }
            }
        }
        let (low, high) = (simd.splat_f32s(self.epilogue.low), simd.splat_f32s(self.epilogue.high));
        for b in 0..B {
            for (p, out) in self.out[b][x..x + P].iter_mut().enumerate() {
                let out = vectors_mut::<S, V>(out);
                for v in 0..V {
                    out[v] = simd.min_f32s(simd.max_f32s(sums[p][b][v], low), high);
                }
                if let Some(residual) = self.residual {
                    let residual = vectors::<S, V>(&residual[b][x + p]);
                    for v in 0..V {
                        out[v] = simd.add_f32s(out[v], residual[v]);
                    }
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
    pixels: &[Block; P],
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
