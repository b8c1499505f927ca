//! Packing of the tensors that a convolution reads into bf16 parts, in the layouts of the factors of tile products.

use crate::cpu::amx::bf16_parts::{interleave_rows, split_row};
use crate::cpu::amx::{BLOCK, DEPTH, TILE};
use crate::cpu::conv2d::padded_planes::PaddedPlanes;
use crate::cpu::planes::Input;
use crate::cpu::reduce::sum_of;
use crate::cpu::transpose_16x16::transpose_16x16;

/// Divides a slice into equal slices, one for each part of its numbers.
pub(super) fn parts<T, const PARTS: usize>(all: &mut [T]) -> [&mut [T]; PARTS] {
    let mut parts = all.chunks_exact_mut((all.len() / PARTS).max(1));
    std::array::from_fn(|_| parts.next().unwrap_or_default())
}

/// The distance between planes of `len` elements: an odd number of cache lines, so that the rows of a tile fall into
/// different sets of the cache.
pub(super) fn plane_stride(len: usize) -> usize {
    (len.div_ceil(TILE) | 1) * TILE
}

/// Calls a function with the width of the planes as a constant generic argument if it is a common one, else with 0.
/// With a constant width, short lines are copied by single instructions.
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
pub(super) use for_width;

/// Packs pairs of channels as padded planes, [pair of channels][position], for each part. `stride` is the distance from
/// one pair of channels to the next, and `scratch` holds two planes.
#[inline(always)]
pub(super) fn pack_channel_pairs<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    input: &Input<'_>,
    channels: usize,
    stride: usize,
    to: [&mut [u32]; PARTS],
    scratch: &mut [f32],
) {
    let width = if WIDTH == 0 { planes.width } else { WIDTH };
    let lead = planes.lead();
    let mut to = to.map(|part| part.chunks_exact_mut(stride));
    let (scratch1, scratch2) = scratch.split_at_mut(planes.height * width);
    for channel in (0..).step_by(2) {
        let Some(mut to) = next_of_each(&mut to) else { return };
        to.iter_mut().for_each(|row| row.fill(0));
        if channel >= channels {
            continue;
        }
        for image in 0..planes.images {
            let first = input.plane(image, channel, scratch1);
            let second = (channel + 1 < channels).then(|| input.plane(image, channel + 1, scratch2));
            for y in 0..planes.height {
                let line = y * width..(y + 1) * width;
                let at = lead + planes.line(image, y);
                let to = to.each_mut().map(|row| &mut row[at..at + width]);
                interleave_rows(&first[line.clone()], second.map(|second| &second[line]), to);
            }
        }
    }
}

/// The next item of each iterator, or None if one of them has ended.
fn next_of_each<I: Iterator<Item: Default>, const N: usize>(iterators: &mut [I; N]) -> Option<[I::Item; N]> {
    let mut ended = false;
    let items = iterators.each_mut().map(|iterator| {
        let item = iterator.next();
        ended |= item.is_none();
        item.unwrap_or_default()
    });
    (!ended).then_some(items)
}

/// Packs channels as padded planes of single bf16, [channel][position], for each part. `stride` is the distance from
/// one channel to the next, and `scratch` holds one plane.
#[inline(always)]
pub(super) fn pack_channels<const PARTS: usize, const WIDTH: usize>(
    planes: &PaddedPlanes,
    input: &Input<'_>,
    channels: usize,
    stride: usize,
    to: [&mut [u16]; PARTS],
    scratch: &mut [f32],
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
            let plane = input.plane(image, channel, scratch);
            for (y, line) in plane.chunks_exact(width).enumerate() {
                let at = lead + planes.line(image, y);
                split_row(line, to.each_mut().map(|row| &mut row[at..at + width]));
            }
        }
    }
}

/// Packs pairs of positions of a gradient, [block of 32 channels][pair of positions][32 channels], for each part, and
/// adds the sum of each channel to `bias`.
///
/// `depth` is the number of positions, rounded up to whole steps. `rows` is memory for half a block of channels.
#[inline(always)]
pub(super) fn pack_positions<const PARTS: usize, const WIDTH: usize>(
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
    // `rows` receives half a block of channels, [channel][position], whose pairs of positions are then transposed.
    for half in 0..channels.div_ceil(BLOCK) * 2 {
        rows.iter_mut().for_each(|part| part.fill(0));
        for row in 0..TILE.min(channels.saturating_sub(half * TILE)) {
            let channel = half * TILE + row;
            for image in 0..planes.images {
                let grad = &grad[(image * channels + channel) * plane..][..plane];
                bias[channel] += sum_of(grad, |v| v) as f32;
                for (y, grad) in grad.chunks_exact(width).enumerate() {
                    let at = row * depth + planes.line(image, y);
                    split_row(grad, rows.each_mut().map(|part| &mut part[at..at + width]));
                }
            }
        }
        let first = half / 2 * depth / 2 * BLOCK + half % 2 * TILE;
        for (rows, to) in rows.iter().zip(&mut to) {
            for from in (0..depth).step_by(DEPTH) {
                let pairs = transpose_16x16(std::array::from_fn(|row| {
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
