//! Images packed in blocks of 16 channels by 16 positions: the panels of the micro-kernel.

use rayon::prelude::*;

use crate::cpu::micro_kernel::{PANEL, PANEL_BLOCK};
use crate::cpu::planes::Input;
use crate::cpu::scratch::with_second_scratch;
use crate::cpu::transpose_8x8::{BLOCK_SIDE, Transpose8x8, WithTranspose};
use crate::cpu::vectorize::vectorize;
use crate::cpu::work_division::for_each_item;

/// Packs the planes of some images in blocks of 16 × 16, [block of channels][block of positions][16 channels][16
/// positions]. The positions of all images follow one another. Missing channels and positions are zeros.
pub(super) fn pack_blocks(
    images: usize,
    plane: usize,
    input: &Input<'_>,
    channels: usize,
    packed: &mut [f32],
    threads: usize,
) {
    let block_stride = (images * plane).next_multiple_of(PANEL) * PANEL;
    for_each_item(threads, packed.par_chunks_exact_mut(block_stride.max(1)).enumerate(), |(block, packed)| {
        let first = block * PANEL;
        let count = PANEL.min(channels - first);
        with_second_scratch(plane, |scratch| {
            vectorize(
                #[inline(always)]
                |_| {
                    if count < PANEL {
                        packed.fill(0.0);
                    } else if let Some(last) = packed.len().checked_sub(PANEL_BLOCK) {
                        packed[last..].fill(0.0);
                    }
                    // The outer loop runs over images because the channels of one image are adjacent in memory.
                    for image in 0..images {
                        for channel in 0..count {
                            let (mut plane_left, added) = input.plane_and_added(image, first + channel, scratch);
                            let mut position = image * plane;
                            while !plane_left.is_empty() {
                                let (block, at) = (position / PANEL, position % PANEL);
                                let (now, later) = plane_left.split_at(plane_left.len().min(PANEL - at));
                                let to = &mut packed[block * PANEL_BLOCK + channel * PANEL + at..];
                                if let (Ok(now), Some(to)) = (<&[f32; PANEL]>::try_from(now), to.first_chunk_mut()) {
                                    *to = now.map(|value| value + added);
                                } else {
                                    to.iter_mut().zip(now).for_each(|(to, value)| *to = value + added);
                                }
                                position += now.len();
                                plane_left = later;
                            }
                        }
                    }
                },
            );
        });
    });
}

/// Transposes each block of 16 × 16 in place.
pub(super) struct TransposeBlocks<'a>(pub(super) &'a mut [f32]);

impl WithTranspose for TransposeBlocks<'_> {
    #[inline(always)]
    fn with_transpose<T: Transpose8x8>(self, transpose: T) {
        let mut rows = [[0.0; BLOCK_SIDE]; BLOCK_SIDE];
        let mut quarters = [[[0.0; BLOCK_SIDE]; BLOCK_SIDE]; 4];
        for block in self.0.chunks_exact_mut(PANEL_BLOCK) {
            let corner = |i: usize| (i / 2 * BLOCK_SIDE, i % 2 * BLOCK_SIDE);
            for (i, quarter) in quarters.iter_mut().enumerate() {
                let (row, column) = corner(i);
                for (j, to) in rows.iter_mut().enumerate() {
                    to.copy_from_slice(&block[(row + j) * PANEL + column..][..BLOCK_SIDE]);
                }
                transpose.transpose(&rows, quarter);
            }
            for (i, quarter) in quarters.iter().enumerate() {
                let (row, column) = corner(i);
                for (j, values) in quarter.iter().enumerate() {
                    block[(column + j) * PANEL + row..][..BLOCK_SIDE].copy_from_slice(values);
                }
            }
        }
    }
}
