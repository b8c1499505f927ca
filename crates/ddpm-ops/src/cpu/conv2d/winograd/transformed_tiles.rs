//! The tiles of images, transformed: Bᵀ d B of windows of the input, A ∂y Aᵀ of tiles of the output's gradient.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cpu::conv2d::blocked_layout::BlockedLayout;
use crate::cpu::conv2d::winograd::tiling::Tiling;
use crate::cpu::conv2d::winograd::transforms::{TILE_SIDE, Transform, in_two_dimensions};
use crate::cpu::micro_kernel::PANEL;
use crate::cpu::planes::Input;
use crate::cpu::scratch::with_second_scratch;
use crate::cpu::vectorize::vectorize;
use crate::cpu::work_division::for_each_item;

/// Transforms the tiles of `channels` channels of `input` by `T`: windows of 6 × 6 by `InputTransform`, or tiles of 4 ×
/// 4 by `OutputGradientTransform`. The result is [block of 16 channels][point][tile][16].
///
/// If `sums` is not empty, the sum of each channel over all positions is added to it.
pub(super) fn transform_tiles<T: Transform<I, 6>, const I: usize>(
    tiling: &Tiling,
    input: &Input<'_>,
    channels: usize,
    transformed: &mut [f32],
    sums: &mut [f32],
    threads: usize,
) {
    let layout = tiling.layout((I - TILE_SIDE) / 2);
    let padded = tiling.images * layout.image_stride * PANEL;
    let plane = tiling.height * tiling.width;
    // Without sums, every block gets an empty slice.
    let mut sums = sums.chunks_mut(PANEL);
    let tasks: Vec<_> = transformed
        .chunks_exact_mut(tiling.block_stride().max(1))
        .enumerate()
        .map(|(block, transformed)| (block * PANEL, transformed, sums.next().unwrap_or_default()))
        .collect();
    for_each_item(threads, tasks.into_par_iter(), |(first, transformed, sums)| {
        with_second_scratch(padded + (PANEL + 1) * plane, |scratch| {
            let (padded, scratch) = scratch.split_at_mut(padded);
            padded.fill(0.0);
            layout.pack(input, first..channels.min(first + PANEL), padded, scratch);
            let padded = &*padded;
            add_channel_sums(padded, sums);
            Arch::new().dispatch(TransformTask::<T, I> { tiling, layout, padded, transformed, transform: PhantomData });
        });
    });
}

/// Adds the sum of each channel over all positions, `[position][16]`, to `sums`.
fn add_channel_sums(padded: &[f32], sums: &mut [f32]) {
    /// The number of positions that are summed in f32 before the sum is added in f64.
    const RUN: usize = 64;
    if sums.is_empty() {
        return;
    }
    let mut totals = [0.0f64; PANEL];
    vectorize(
        #[inline(always)]
        |_| {
            for run in padded.chunks(RUN * PANEL) {
                let mut lanes = [0.0f32; PANEL];
                for position in run.chunks_exact(PANEL) {
                    lanes.iter_mut().zip(position).for_each(|(lane, value)| *lane += value);
                }
                totals.iter_mut().zip(lanes).for_each(|(total, lane)| *total += f64::from(lane));
            }
        },
    );
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
}

/// Transforms the tiles of one channel block.
struct TransformTask<'a, T, const I: usize> {
    tiling: &'a Tiling,
    layout: BlockedLayout,
    /// The channel block, `[position][16]`.
    padded: &'a [f32],
    /// [point][tile][16]
    transformed: &'a mut [f32],
    transform: PhantomData<T>,
}

impl<T: Transform<I, 6>, const I: usize> WithSimd for TransformTask<'_, T, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, layout, padded, transformed, .. } = self;
        let (point_stride, lanes) = (tiling.point_stride(), S::F32_LANES);
        let mut half = [[simd.splat_f32s(0.0); 6]; I];
        for (tile, start) in tiling.starts(layout).enumerate() {
            let window = &padded[start * PANEL..];
            for lane in (0..PANEL).step_by(lanes) {
                in_two_dimensions::<T, S, I, 6>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = (y * layout.line_stride + x) * PANEL + lane;
                        S::as_simd_f32s(&window[at..at + lanes]).0[0]
                    },
                    #[inline(always)]
                    |y, x, value| {
                        let at = (6 * y + x) * point_stride + tile * PANEL + lane;
                        S::as_mut_simd_f32s(&mut transformed[at..at + lanes]).0[0] = value;
                    },
                );
            }
        }
        // The tiles that round their number up to whole panels are zeros.
        for point in transformed.chunks_exact_mut(point_stride) {
            point[tiling.tiles() * PANEL..].fill(0.0);
        }
    }
}
