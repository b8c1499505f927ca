//! Convolution on the matrix unit: no lowering, the taps are offsets into padded planes.
//!
//! Output and input gradient are one algorithm: rows of the product are channels, columns are positions, and each step of the
//! inner loop is one tap of 32 input channels. They are products of three parts, as exact as f32. The weights' gradient
//! multiplies planes with planes: its terms are positions. It is one of two parts: nothing is computed from it, and its error,
//! a few 1e-6 of the gradient, stays where it is.

use std::ops::Range;

use rayon::prelude::*;

use crate::cpu;
use crate::cpu::amx::{self, BLOCK, DEPTH, Factor, Offsets, Onto, Product, TILE, Tiles};
use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::conv2d::padded_planes::{PaddedPlanes, images_of_positions, padded};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::reduce::sum_of;
use crate::cpu::split::{pair_of, pair_rows, single_row, transpose};
use crate::cpu::vectorise::vectorise;

/// Parts of the factors of output and input gradient.
const EXACT: usize = 3;
/// Parts of the factors of the weights' gradient.
const QUICK: usize = 2;

/// A slice cut into equal parts.
fn parts<T, const PARTS: usize>(all: &mut [T]) -> [&mut [T]; PARTS] {
    let mut parts = all.chunks_exact_mut((all.len() / PARTS).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// Convolution on the matrix unit of Intel processors (AMX), in products of bf16 parts of f32 numbers.
#[derive(Debug)]
pub(crate) struct Amx;

impl ConvKernel for Amx {
    fn name(&self) -> &'static str {
        "amx"
    }

    fn supports(&self, _: &Geometry, _: usize) -> bool {
        amx::available()
    }

    fn images_together(&self, geometry: &Geometry, images: usize, threads: usize) -> usize {
        images_of_positions(geometry, images, threads)
    }

    fn divides_its_work(&self) -> bool {
        false
    }

    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        PackedWeights::new(geometry, weight).erased()
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        PackedWeights::flipped(geometry, weight).erased()
    }

    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        _: usize,
    ) {
        forward(geometry, weights.layout(), images, input, bias, out);
    }

    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums {
        WeightGradientSums::new(WeightGradient::new(*geometry))
    }

    fn accumulate(&self, sums: &mut WeightGradientSums, images: usize, input: &Input<'_>, grad: &[f32], _: usize) {
        sums.get_mut::<WeightGradient>().add(images, input, grad);
    }

    fn finish(&self, geometry: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer) {
        WeightGradient::finish(geometry, &WeightGradientSums::into_vec(sums))
    }
}

/// The weights of a convolution as rows of tiles, for each part: [block of 32 channels out][step: 32 channels in, tap][2
/// tiles][16][16 pairs].
#[derive(Debug)]
struct PackedWeights {
    words: Vec<u32>,
    start: usize,
    part: usize,
    channels_in: usize,
    channels_out: usize,
    taps: usize,
}

impl PackedWeights {
    fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.words[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Packs `weight` [channel_out, channel_in, ky, kx].
    fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let (Geometry { channels_in, channels_out, .. }, taps) = (*geometry, geometry.taps());
        Self::pack(channels_in, channels_out, taps, |rows, input, pairs| {
            for (row, pairs) in rows.zip(pairs.chunks_exact_mut(taps)) {
                let first = &weight[(row * channels_in + input) * taps..][..taps];
                let second = &weight[(row * channels_in + (input + 1).min(channels_in - 1)) * taps..][..taps];
                pairs.iter_mut().zip(first.iter().zip(second)).for_each(|(pair, (a, b))| *pair = [*a, *b]);
            }
        })
    }

    /// Packs the weights of the input's gradient: the kernel turned by 180°, channels in and out exchanged.
    fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
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

    /// Packs what `weights` gives for some channels out and two channels in: [channel out][tap] pairs. Where the last channel
    /// in has no neighbour, the second of a pair may be anything.
    fn pack(
        channels_in: usize,
        channels_out: usize,
        taps: usize,
        weights: impl Fn(Range<usize>, usize, &mut [[f32; 2]]) + Sync,
    ) -> Self {
        let (steps, blocks) = (channels_in.div_ceil(DEPTH) * taps, channels_out.div_ceil(BLOCK));
        let block = steps * BLOCK * TILE;
        let part = blocks * block;
        let mut words = vec![0; EXACT * part + TILE];
        // Tiles that begin with a cache line load twice as fast.
        let start = words.as_ptr().align_offset(4 * TILE).min(TILE);
        let [high, middle, low] = parts::<_, EXACT>(&mut words[start..start + EXACT * part]);
        let blocks = high.par_chunks_mut(block).zip(middle.par_chunks_mut(block)).zip(low.par_chunks_mut(block));
        blocks.enumerate().for_each(|(number, ((high, middle), low))| {
            let rows = number * BLOCK..channels_out.min((number + 1) * BLOCK);
            let mut pairs = vec![[0.0; 2]; rows.len() * taps];
            let mut words = vec![[0; EXACT]; pairs.len()];
            for input in (0..channels_in).step_by(2) {
                weights(rows.clone(), input, &mut pairs);
                if input + 1 == channels_in {
                    pairs.iter_mut().for_each(|pair| pair[1] = 0.0);
                }
                vectorise(
                    #[inline(always)]
                    |_| words.iter_mut().zip(&pairs).for_each(|(words, pair)| *words = pair_of(pair[0], pair[1])),
                );
                let first = input / DEPTH * taps * BLOCK * TILE + input % DEPTH / 2;
                for (row, words) in words.chunks_exact(taps).enumerate() {
                    for (tap, words) in words.iter().enumerate() {
                        let at = first + (tap * BLOCK + row) * TILE;
                        [high[at], middle[at], low[at]] = *words;
                    }
                }
            }
        });
        Self { words, start, part, channels_in, channels_out, taps }
    }

    fn steps(&self) -> usize {
        self.channels_in.div_ceil(DEPTH) * self.taps
    }

    /// The tiles of a block of output channels.
    fn block(&self, block: usize) -> Factor<'_, u32, EXACT> {
        let parts = std::array::from_fn(|i| &self.words[self.start + i * self.part..][..self.part]);
        Factor { parts, first: block * self.steps() * BLOCK * TILE, next: TILE * TILE, row: TILE }
    }
}

/// A stride of planes whose rows of a tile fall into different sets of the cache: an odd number of cache lines.
fn plane_stride(len: usize) -> usize {
    (len.div_ceil(TILE) | 1) * TILE
}

/// Calls a function for planes of `width` with that width as a constant where it is a usual one, 0 where it is not: short
/// lines are copied by single instructions then.
macro_rules! for_width {
    ($width:expr, $function:ident::<$parts:ident>($($argument:expr),* $(,)?)) => {
        match $width {
            4 => $function::<$parts, 4>($($argument),*),
            8 => $function::<$parts, 8>($($argument),*),
            16 => $function::<$parts, 16>($($argument),*),
            32 => $function::<$parts, 32>($($argument),*),
            _ => $function::<$parts, 0>($($argument),*),
        }
    };
}

/// Pairs of channels as padded planes, [pair of channels][position], in each part. `spare` holds two planes.
#[inline(always)]
fn pack_channel_pairs<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    input: &Input<'_>,
    channels: usize,
    stride: usize,
    to: [&mut [u32]; PARTS],
    spare: &mut [f32],
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    let lead = planes.lead();
    let mut to = to.map(|part| part.chunks_exact_mut(stride));
    let (spare1, spare2) = spare.split_at_mut(planes.height * width);
    for channel in (0..).step_by(2) {
        let Some(mut to) = next_of_each(&mut to) else { return };
        to.iter_mut().for_each(|row| row.fill(0));
        if channel >= channels {
            continue;
        }
        for image in 0..planes.images {
            let first = input.plane(image, channel, spare1);
            let second = (channel + 1 < channels).then(|| input.plane(image, channel + 1, spare2));
            for y in 0..planes.height {
                let line = y * width..(y + 1) * width;
                let at = lead + planes.line(image, y);
                let to = to.each_mut().map(|row| &mut row[at..at + width]);
                pair_rows(&first[line.clone()], second.map(|second| &second[line]), to);
            }
        }
    }
}

/// The next item of each iterator; None when one has ended.
fn next_of_each<I: Iterator<Item: Default>, const N: usize>(iterators: &mut [I; N]) -> Option<[I::Item; N]> {
    let mut ended = false;
    let items = iterators.each_mut().map(|iterator| {
        let item = iterator.next();
        ended |= item.is_none();
        item.unwrap_or_default()
    });
    (!ended).then_some(items)
}

/// The convolution of `images` images of `input`, on this thread.
fn forward(
    geometry: &Geometry,
    weights: &PackedWeights,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
) {
    let plane = geometry.plane();
    let (channels_in, channels_out) = (weights.channels_in, weights.channels_out);
    let planes = padded(geometry, images);
    let Some(tiles) = Tiles::configure() else { unreachable!("only called where there are tiles") };
    let stride = plane_stride(planes.len(2 * BLOCK));
    let rows = channels_in.div_ceil(DEPTH) * TILE;
    let steps_of_taps = (0..rows / TILE).flat_map(|chunk| planes.taps().map(move |tap| chunk * TILE * stride + tap));
    let offsets = Offsets::new(steps_of_taps, size_of::<u32>());
    cpu::with_words(EXACT * rows * stride, |words| {
        cpu::with_scratch(2 * planes.height * planes.width, |spare| {
            vectorise(
                #[inline(always)]
                |_| {
                    let to = parts::<_, EXACT>(words);
                    for_width!(
                        planes.width,
                        pack_channel_pairs::<EXACT>(&planes, input, channels_in, stride, to, spare)
                    );
                },
            );
        });
        let packed = std::array::from_fn(|i| &words[i * rows * stride..(i + 1) * rows * stride]);
        let at = |first, next| Factor { parts: packed, first, next, row: stride };
        for block in 0..channels_out.div_ceil(BLOCK) {
            let channels = block * BLOCK..channels_out.min((block + 1) * BLOCK);
            let mut rows_of_bias = [0.0; BLOCK * TILE];
            let onto = match bias {
                None => Onto::Zero,
                Some(bias) => {
                    for (row, bias) in rows_of_bias.chunks_exact_mut(TILE).zip(&bias[channels.clone()]) {
                        row.fill(*bias);
                    }
                    Onto::Rows(&rows_of_bias)
                }
            };
            let a = weights.block(block);
            let step = BLOCK * TILE;
            // Where whole blocks of positions are whole lines of whole blocks of channels, they are stored where they belong.
            let lines = lines_a_block(&planes).filter(|_| channels.len() == BLOCK);
            if let Some(lines) = lines.filter(|_| out.block(0, channels.clone()).is_some()) {
                for image in 0..planes.images {
                    let Some((values, start)) = out.block(image, channels.clone()) else { return };
                    for from in (0..plane).step_by(BLOCK) {
                        let first = planes.line(image, from / planes.width) + from % planes.width;
                        let b = at(first, if lines == 2 { planes.pitch() } else { TILE });
                        let to = Product { values: &mut *values, first: start + from, next: TILE, row: plane };
                        tiles.multiply(a, step, b, &offsets, to, onto);
                    }
                }
            } else {
                let columns = planes.positions().next_multiple_of(BLOCK);
                let row = plane_stride(columns);
                cpu::with_scratch(BLOCK * row, |sums| {
                    for first in (0..columns).step_by(BLOCK) {
                        let to = Product { values: sums, first, next: TILE, row };
                        tiles.multiply(a, step, at(first, TILE), &offsets, to, onto);
                    }
                    for (channel, sums) in channels.zip(sums.chunks_exact(row)) {
                        for_width!(planes.width, take_positions::<EXACT>(&planes, sums, channel, out));
                    }
                });
            }
        }
    });
}

/// One channel's sums without the positions between images and lines.
fn take_positions<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    sums: &[f32],
    channel: usize,
    out: &mut Output<'_>,
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    for image in 0..planes.images {
        for (y, line) in out.plane(image, channel).chunks_exact_mut(width).enumerate() {
            line.copy_from_slice(&sums[planes.line(image, y)..][..width]);
        }
    }
}

/// How many lines a block of positions is, where lines and blocks fit: half a line, one or more blocks a line, or two lines.
fn lines_a_block(planes: &PaddedPlanes) -> Option<usize> {
    match planes.width {
        width if width.is_multiple_of(BLOCK) => Some(1),
        TILE if planes.height.is_multiple_of(2) => Some(2),
        _ => None,
    }
}

/// The gradients of weight and bias over some images, on one thread, added up run by run.
#[derive(Debug)]
struct WeightGradient {
    geometry: Geometry,
    /// [tap][block of channels in][block of channels out][32][32]
    sums: Buffer,
    bias: Vec<f32>,
    /// Whether the sums hold anything yet.
    begun: bool,
}

impl WeightGradient {
    fn new(geometry: Geometry) -> Self {
        let blocks = geometry.channels_in.div_ceil(BLOCK) * geometry.channels_out.div_ceil(BLOCK);
        let sums = Buffer::new(geometry.taps() * blocks * BLOCK * BLOCK);
        Self { geometry, sums, bias: vec![0.0; geometry.channels_out], begun: false }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give.
    fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32]) {
        let Geometry { channels_in, channels_out, .. } = self.geometry;
        let onto = if std::mem::replace(&mut self.begun, true) { Onto::Output } else { Onto::Zero };
        let planes = padded(&self.geometry, images);
        let Some(tiles) = Tiles::configure() else { unreachable!("only called where there are tiles") };
        let depth = planes.positions().next_multiple_of(DEPTH);
        let stride = plane_stride(planes.len(2 * DEPTH));
        let (rows_x, rows_grad) = (channels_in.next_multiple_of(BLOCK), channels_out.next_multiple_of(BLOCK));
        let (half_x, half_grad) = (rows_x * stride, rows_grad * depth / 2);
        cpu::with_halfwords(QUICK * half_x, |halfwords| {
            cpu::with_words(QUICK * half_grad, |words| {
                // Half a block of channels for `pack_positions`, a plane for `pack_channels`.
                cpu::with_spare_halfwords(QUICK * TILE * depth, |rows| {
                    cpu::with_scratch(planes.height * planes.width, |spare| {
                        vectorise(
                            #[inline(always)]
                            |_| {
                                let to = parts::<_, QUICK>(halfwords);
                                for_width!(
                                    planes.width,
                                    pack_channels::<QUICK>(&planes, input, channels_in, stride, to, spare)
                                );
                                let (to, rows, bias) = (parts::<_, QUICK>(words), parts(rows), &mut self.bias);
                                for_width!(
                                    planes.width,
                                    pack_positions::<QUICK>(&planes, channels_out, grad, depth, to, rows, bias)
                                );
                            },
                        );
                    });
                });
                let blocks_out = rows_grad / BLOCK;
                let offsets = Offsets::new((0..depth / DEPTH).map(|step| step * TILE * BLOCK), size_of::<u32>());
                let packed_x = std::array::from_fn(|i| &halfwords[i * half_x..(i + 1) * half_x]);
                let packed_grad = std::array::from_fn(|i| &words[i * half_grad..(i + 1) * half_grad]);
                for block_in in 0..rows_x / BLOCK {
                    for block_out in 0..blocks_out {
                        let first = block_out * depth / 2 * BLOCK;
                        let b = Factor::<_, QUICK> { parts: packed_grad, first, next: TILE, row: BLOCK };
                        for (tap, offset) in planes.taps().enumerate() {
                            let first = block_in * BLOCK * stride + offset;
                            let a = Factor { parts: packed_x, first, next: TILE * stride, row: stride };
                            let block = (tap * (rows_x / BLOCK) + block_in) * blocks_out + block_out;
                            let first = block * BLOCK * BLOCK;
                            let out = Product { values: &mut self.sums, first, next: TILE, row: BLOCK };
                            tiles.multiply(a, DEPTH, b, &offsets, out, onto);
                        }
                    }
                }
            });
        });
    }

    /// The gradients of weight [channel_out, channel_in, ky, kx] and bias `[channel_out]`, from the sums of all threads.
    fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
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

/// Channels as padded planes, [channel][position], element by element, in each part.
#[inline(always)]
fn pack_channels<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    input: &Input<'_>,
    channels: usize,
    stride: usize,
    to: [&mut [u16]; PARTS],
    spare: &mut [f32],
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    let lead = planes.lead();
    let mut to = to.map(|part| part.chunks_exact_mut(stride));
    for channel in 0.. {
        let Some(mut to) = next_of_each(&mut to) else { return };
        to.iter_mut().for_each(|row| row.fill(0));
        if channel >= channels {
            continue;
        }
        for image in 0..planes.images {
            let plane = input.plane(image, channel, spare);
            for (y, line) in plane.chunks_exact(width).enumerate() {
                let at = lead + planes.line(image, y);
                single_row(line, to.each_mut().map(|row| &mut row[at..at + width]));
            }
        }
    }
}

/// Pairs of positions of a gradient, [block of channels][pair of positions][32 channels], in each part, with each channel's
/// sum added to `bias`.
#[inline(always)]
fn pack_positions<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    channels: usize,
    grad: &[f32],
    depth: usize,
    mut to: [&mut [u32]; PARTS],
    mut rows: [&mut [u16]; PARTS],
    bias: &mut [f32],
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    let plane = planes.height * width;
    // `rows` is half a block of channels, [channel][position], whose pairs are then turned by 90°.
    for half in 0..channels.div_ceil(BLOCK) * 2 {
        rows.iter_mut().for_each(|part| part.fill(0));
        for row in 0..TILE.min(channels.saturating_sub(half * TILE)) {
            let channel = half * TILE + row;
            for image in 0..planes.images {
                let grad = &grad[(image * channels + channel) * plane..][..plane];
                bias[channel] += sum_of(grad, |v| v) as f32;
                for (y, grad) in grad.chunks_exact(width).enumerate() {
                    let at = row * depth + planes.line(image, y);
                    single_row(grad, rows.each_mut().map(|part| &mut part[at..at + width]));
                }
            }
        }
        let first = half / 2 * depth / 2 * BLOCK + half % 2 * TILE;
        for (rows, to) in rows.iter().zip(&mut to) {
            for from in (0..depth).step_by(DEPTH) {
                let pairs = transpose(std::array::from_fn(|row| {
                    let line = &rows[row * depth + from..][..DEPTH];
                    std::array::from_fn(|i| u32::from(line[2 * i]) | u32::from(line[2 * i + 1]) << 16)
                }));
                for (i, pairs) in pairs.iter().enumerate() {
                    to[first + (from / 2 + i) * BLOCK..][..TILE].copy_from_slice(pairs);
                }
            }
        }
    }
}
