//! A row of output pixels, divided into register tiles.

use pulp::{Simd, WithSimd};

use crate::blocked::block::{Block, LANES};

/// The weights of one tap: [channel_in][16 channels_out].
pub(crate) type TapWeights = [Block; LANES];

/// One row of output pixels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowInput<'a> {
    /// The padded input.
    pub(crate) pixels: &'a [Block],
    /// For each tap (channel block, row and column of the kernel) the distance of its pixel from the first.
    pub(crate) taps: &'a [usize],
    /// The pixel of the first tap of the first output pixel. Those of the next output pixels follow it.
    pub(crate) start: usize,
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

impl Epilogue {
    /// Sums are stored as they are.
    pub(crate) const NONE: Self = Self { low: f32::NEG_INFINITY, high: f32::INFINITY };
}

/// Computes a row of output pixels for `B` blocks of output channels.
#[derive(Debug)]
pub(crate) struct RowProduct<'a, const B: usize> {
    pub(crate) input: RowInput<'a>,
    /// For each block, the weights of all taps.
    pub(crate) weights: [&'a [TapWeights]; B],
    pub(crate) bias: [&'a Block; B],
    /// For each block, the row that is added last.
    pub(crate) residual: Option<[&'a [Block]; B]>,
    pub(crate) out: [&'a mut [Block]; B],
    /// Whether the sums start from the contents of `out` in place of the bias: they continue those of earlier taps.
    pub(crate) accumulate: bool,
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
                    $($p if const { $p <= MAX } => self.register_tile::<S, V, $p>(simd, x),)*
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
            let (input, accumulate, epilogue) = (self.input, self.accumulate, self.epilogue);
            let one = RowProduct { input, weights, bias, residual, out: [out], accumulate, epilogue };
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

#[cfg(test)]
mod tests {
    use pulp::{Arch, Scalar};

    use super::*;

    fn values(count: usize, seed: usize) -> Vec<Block> {
        let value = |i: usize| ((i * 7919 + seed * 104_729) % 2003) as f32 / 1000.0 - 1.0;
        (0..count).map(|i| std::array::from_fn(|lane| value(i * LANES + lane))).collect()
    }

    /// Runs a product with the vectors of every width that the machine has.
    fn on_all_vectors(run: impl Fn(&dyn Fn(RowProduct<'_, 2>))) {
        run(&|product| Arch::new().dispatch(product));
        run(&|product| product.with_simd(Scalar::new()));
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            run(&|product| Simd::vectorize(simd, product));
        }
    }

    #[test]
    fn rows_equal_those_of_a_plain_loop() {
        for width in [1, 5, 14, 15, 29] {
            let taps = [0, 1, 40];
            let (pixels, bias, residual) = (values(40 + width, 1), values(2, 2), values(2 * width, 3));
            let weights: Vec<TapWeights> = values(2 * 3 * LANES, 4).as_chunks::<LANES>().0.to_vec();
            on_all_vectors(|run| {
                let mut out = vec![[0.0; LANES]; 2 * width];
                let (first, second) = out.split_at_mut(width);
                // The first tap alone, then the others on top of it.
                run(RowProduct {
                    input: RowInput { pixels: &pixels, taps: &taps[..1], start: 0, full_taps: 1, last_channels: 5 },
                    weights: [&weights[..1], &weights[3..4]],
                    bias: [&bias[0], &bias[1]],
                    residual: None,
                    out: [&mut *first, &mut *second],
                    accumulate: false,
                    epilogue: Epilogue::NONE,
                });
                run(RowProduct {
                    input: RowInput { pixels: &pixels, taps: &taps[1..], start: 0, full_taps: 1, last_channels: 5 },
                    weights: [&weights[1..3], &weights[4..]],
                    bias: [&bias[0], &bias[1]],
                    residual: Some([&residual[..width], &residual[width..]]),
                    out: [first, second],
                    accumulate: true,
                    epilogue: Epilogue { low: 0.0, high: 6.0 },
                });
                for (i, (x, lane)) in (0..2 * width * LANES).map(|i| (i / LANES, i % LANES)).enumerate() {
                    let (block, x) = (x / width, x % width);
                    let mut sum = f64::from(bias[block][lane]);
                    for (tap, channel) in (0..2 * LANES).map(|i| (i / LANES, i % LANES)).chain((0..5).map(|c| (2, c))) {
                        let weight = weights[3 * block + tap][channel][lane];
                        sum += f64::from(weight) * f64::from(pixels[x + taps[tap]][channel]);
                    }
                    let expected = sum.clamp(0.0, 6.0) + f64::from(residual[block * width + x][lane]);
                    let found = f64::from(out[block * width + x][lane]);
                    assert!((found - expected).abs() < 1e-4, "{width} pixels, element {i}: {found} {expected}");
                }
            });
        }
    }
}
