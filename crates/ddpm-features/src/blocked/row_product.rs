//! A row of output pixels, divided into register tiles.

use pulp::{Simd, WithSimd};

use crate::blocked::block::Block;
use crate::blocked::register_tile::{Epilogue, RowInput, TapWeights, register_tile};

/// Computes rows of output pixels for one or two blocks of output channels.
///
/// Input and output rows have the same number, and the tiles of all rows use the same weights.
#[derive(Debug)]
pub(crate) struct RowProduct<'a, const B: usize> {
    pub(crate) input: RowInput<'a>,
    pub(crate) weights: [&'a [TapWeights]; B],
    pub(crate) bias: [&'a Block; B],
    pub(crate) residual: Option<[&'a [Block]; B]>,
    pub(crate) out: [&'a mut [Block]; B],
    pub(crate) epilogue: Epilogue,
}

impl<const B: usize> RowProduct<'_, B> {
    /// Divides the row into tiles of nearly equal width, so that none is too narrow to use the registers.
    #[inline(always)]
    fn all_tiles<S: Simd, const V: usize, const MAX: usize>(mut self, simd: S) {
        let width = self.out[0].len();
        let tiles = width.div_ceil(MAX);
        for tile in 0..tiles {
            let (x, end) = (width * tile / tiles, width * (tile + 1) / tiles);
            self.tile::<S, V, MAX>(simd, x, end - x);
        }
    }

    #[inline(always)]
    fn tile<S: Simd, const V: usize, const MAX: usize>(&mut self, simd: S, x: usize, pixels: usize) {
        macro_rules! widths {
            ($($p:literal)*) => {
                match pixels {
                    // No code is generated for the widths above the largest.
                    $($p if const { $p <= MAX } => register_tile::<S, V, $p, B>(
                        simd, &self.input, self.weights, self.bias, self.residual, &mut self.out, x, self.epilogue,
                    ),)*
                    _ => unreachable!("tiles have from 1 to {MAX} pixels"),
                }
            };
        }
        widths!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);
    }

    /// Computes the blocks of output channels one after the other.
    #[inline(always)]
    fn one_block_at_a_time<S: Simd, const V: usize, const MAX: usize>(self, simd: S) {
        for (b, out) in self.out.into_iter().enumerate() {
            let (weights, bias) = ([self.weights[b]], [self.bias[b]]);
            let residual = self.residual.map(|residual| [residual[b]]);
            let one = RowProduct { input: self.input, weights, bias, residual, out: [out], epilogue: self.epilogue };
            one.all_tiles::<S, V, MAX>(simd);
        }
    }
}

impl<const B: usize> WithSimd for RowProduct<'_, B> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // The sums, the weights of an input channel and one value fit into the registers: 32 with AVX-512 and NEON, 16
        // with AVX2.
        if const { S::F32_LANES == 16 } {
            self.all_tiles::<S, 1, 14>(simd);
        } else if const { S::F32_LANES == 8 } {
            self.one_block_at_a_time::<S, 2, 6>(simd);
        } else if const { S::F32_LANES == 4 } {
            self.one_block_at_a_time::<S, 4, 6>(simd);
        } else {
            self.one_block_at_a_time::<S, 16, 1>(simd);
        }
    }
}
