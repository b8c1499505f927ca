//! The weights of a convolution, packed as tiles.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu::amx::bf16_parts::pair_of;
use crate::cpu::amx::{BLOCK, DEPTH, Factor, TILE};
use crate::cpu::conv2d::amx::packing::parts;
use crate::cpu::conv2d::conv_kernel::ConvWeights;
use crate::cpu::geometry::Geometry;
use crate::cpu::vectorize::vectorize;

/// The number of bf16 parts of each number in the products of a forward pass and of an input gradient: as exact as f32.
pub(super) const EXACT_PARTS: usize = 3;

/// The weights of a convolution as tiles, for each part: [block of 32 output channels][32 input channels, tap][2
/// tiles][16 output channels][16 pairs of input channels]. The second axis is that of the steps of the product. Missing
/// channels are zeros.
#[derive(Debug)]
pub(super) struct AmxWeights {
    pairs: Vec<u32>,
    /// The index of the first pair, which is at the start of a cache line.
    start: usize,
    /// The number of pairs of one part.
    part: usize,
    channels_in: usize,
    channels_out: usize,
    taps: usize,
}

impl AmxWeights {
    /// The weights in the form in which the trait `ConvKernel` passes them.
    pub(super) fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.pairs[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Packs `weight` [channel_out, channel_in, ky, kx].
    pub(super) fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
        Self::pack(channels_in, channels_out, taps, |rows, input, pairs| {
            for (row, pairs) in rows.zip(pairs.chunks_exact_mut(taps)) {
                let first = &weight[(row * channels_in + input) * taps..][..taps];
                let second = &weight[(row * channels_in + (input + 1).min(channels_in - 1)) * taps..][..taps];
                pairs.iter_mut().zip(first.iter().zip(second)).for_each(|(pair, (a, b))| *pair = [*a, *b]);
            }
        })
    }

    /// Packs the flipped weights: the kernel rotated by 180°, input and output channels exchanged.
    pub(super) fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
        let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
        Self::pack(channels_out, channels_in, taps, |rows, input, pairs| {
            let of_rows = rows.start * taps..rows.end * taps;
            let first = &weight[input * channels_in * taps..][of_rows.clone()];
            let second = &weight[(input + 1).min(channels_out - 1) * channels_in * taps..][of_rows];
            let weights = first.chunks_exact(taps).zip(second.chunks_exact(taps));
            for (pairs, (first, second)) in pairs.chunks_exact_mut(taps).zip(weights) {
                pairs.iter_mut().zip(first.iter().zip(second).rev()).for_each(|(pair, (a, b))| *pair = [*a, *b]);
            }
        })
    }

    /// Packs the weights that `weights(output channels, input channel, pairs)` provides: for each of the output
    /// channels and taps, the pair of weights of this input channel and the next, [output channel][tap]. The second
    /// weight of the last pair may be arbitrary if the number of input channels is odd.
    fn pack(
        channels_in: usize,
        channels_out: usize,
        taps: usize,
        weights: impl Fn(Range<usize>, usize, &mut [[f32; 2]]) + Sync,
    ) -> Self {
        let (steps, blocks) = (channels_in.div_ceil(DEPTH) * taps, channels_out.div_ceil(BLOCK));
        let block = steps * BLOCK * TILE;
        let part = blocks * block;
        let mut packed = vec![0; EXACT_PARTS * part + TILE];
        // Tiles that start at a cache line load twice as fast.
        let start = packed.as_ptr().align_offset(4 * TILE).min(TILE);
        let [high, middle, low] = parts::<_, EXACT_PARTS>(&mut packed[start..start + EXACT_PARTS * part]);
        let blocks = high.par_chunks_mut(block).zip(middle.par_chunks_mut(block)).zip(low.par_chunks_mut(block));
        blocks.enumerate().for_each(|(number, ((high, middle), low))| {
            let rows = number * BLOCK..channels_out.min((number + 1) * BLOCK);
            let mut pairs = vec![[0.0; 2]; rows.len() * taps];
            let mut split = vec![[0; EXACT_PARTS]; pairs.len()];
            for input in (0..channels_in).step_by(2) {
                weights(rows.clone(), input, &mut pairs);
                if input + 1 == channels_in {
                    pairs.iter_mut().for_each(|pair| pair[1] = 0.0);
                }
                vectorize(
                    #[inline(always)]
                    |_| split.iter_mut().zip(&pairs).for_each(|(split, pair)| *split = pair_of(pair[0], pair[1])),
                );
                let first = input / DEPTH * taps * BLOCK * TILE + input % DEPTH / 2;
                for (row, split) in split.chunks_exact(taps).enumerate() {
                    for (tap, split) in split.iter().enumerate() {
                        let at = first + (tap * BLOCK + row) * TILE;
                        [high[at], middle[at], low[at]] = *split;
                    }
                }
            }
        });
        Self { pairs: packed, start, part, channels_in, channels_out, taps }
    }

    pub(super) fn channels_in(&self) -> usize {
        self.channels_in
    }

    pub(super) fn channels_out(&self) -> usize {
        self.channels_out
    }

    fn steps(&self) -> usize {
        self.channels_in.div_ceil(DEPTH) * self.taps
    }

    /// The tiles of a block of 32 output channels.
    pub(super) fn block(&self, block: usize) -> Factor<'_, u32, EXACT_PARTS> {
        let parts = std::array::from_fn(|i| &self.pairs[self.start + i * self.part..][..self.part]);
        Factor { parts, first: block * self.steps() * BLOCK * TILE, tile_stride: TILE * TILE, row_stride: TILE }
    }
}
