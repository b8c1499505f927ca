//! Images in channel blocks of sixteen, the layout that oneDNN calls nChw16c.
//!
//! A tensor [image, channel, height, width] has the positions of a channel adjacent. The kernels that compute with
//! vectors of channels copy it into blocks of sixteen channels, [block][position][16], and copy their results back.
//! Both are transpositions, which are done in blocks of 8 × 8.

use std::ops::Range;

use crate::cpu::micro_kernel::PANEL;
use crate::cpu::planes::{Input, Output};
use crate::cpu::transpose_8x8::{BLOCK_SIDE, Transpose8x8, WithTranspose, dispatch};

/// The layout of the positions of some images within one channel block. All distances are in positions, each of which
/// is sixteen elements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockedLayout {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// The index of the first position of the first image.
    pub(crate) first: usize,
    /// The distance from one line to the next.
    pub(crate) line_stride: usize,
    /// The distance from one image to the next.
    pub(crate) image_stride: usize,
}

impl BlockedLayout {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Copies the channels `channels` of all images to `to`, `[position][16]`. If there are fewer than sixteen
    /// channels, the others are zeros. `scratch` holds seventeen planes.
    pub(crate) fn pack(&self, input: &Input<'_>, channels: Range<usize>, to: &mut [f32], scratch: &mut [f32]) {
        dispatch(Pack { layout: *self, input, channels, to, scratch });
    }

    /// Copies the channels `channels` of one image from `[position][16]` to image 0 of `out`, and adds the bias of each
    /// channel. `scratch` holds sixteen planes.
    pub(crate) fn unpack(
        &self,
        (image, from): (usize, &[f32]),
        bias: Option<&[f32]>,
        channels: Range<usize>,
        out: &mut Output<'_>,
        scratch: &mut [f32],
    ) {
        let (plane, count) = (self.plane(), channels.len());
        let mut bias_of_block = [0.0; PANEL];
        if let Some(bias) = bias {
            bias_of_block[..count].copy_from_slice(&bias[channels.clone()]);
        }
        let unpack = |to: &mut [f32]| dispatch(Unpack { layout: *self, image, from, bias: bias_of_block, count, to });
        if let Some((values, start)) = out.block(0, channels.clone()) {
            return unpack(&mut values[start..start + count * plane]);
        }
        // The channels of this block belong to two tensors.
        unpack(&mut scratch[..count * plane]);
        for (channel, values) in channels.zip(scratch.chunks_exact(plane)) {
            out.plane(0, channel).copy_from_slice(values);
        }
    }
}

/// See [`BlockedLayout::pack`].
struct Pack<'a> {
    layout: BlockedLayout,
    input: &'a Input<'a>,
    channels: Range<usize>,
    to: &'a mut [f32],
    scratch: &'a mut [f32],
}

impl WithTranspose for Pack<'_> {
    #[inline(always)]
    fn with_transpose<T: Transpose8x8>(self, transpose: T) {
        let Self { layout, input, channels, to, scratch } = self;
        let (plane, width) = (layout.plane(), layout.width);
        let (zeros, scratch) = scratch.split_at_mut(plane);
        zeros.fill(0.0);
        for image in 0..layout.images {
            let mut planes = [&*zeros; PANEL];
            let mut added = [0.0; PANEL];
            let operands = planes.iter_mut().zip(&mut added).zip(scratch.chunks_exact_mut(plane));
            for (channel, ((from, added), scratch)) in channels.clone().zip(operands) {
                (*from, *added) = input.plane_and_added(image, channel, scratch);
            }
            let (mut at, mut x) = ((layout.first + image * layout.image_stride) * PANEL, 0);
            let (mut rows, mut halves) = ([[0.0; BLOCK_SIDE]; BLOCK_SIDE], [[[0.0; BLOCK_SIDE]; BLOCK_SIDE]; 2]);
            for position in (0..plane).step_by(BLOCK_SIDE) {
                let count = BLOCK_SIDE.min(plane - position);
                for (half, planes) in halves.iter_mut().zip(planes.chunks_exact(BLOCK_SIDE)) {
                    for (row, from) in rows.iter_mut().zip(planes) {
                        if count == BLOCK_SIDE {
                            *row = *from[position..].first_chunk().expect("eight positions");
                        } else {
                            row.iter_mut().zip(&from[position..]).for_each(|(to, value)| *to = *value);
                        }
                    }
                    transpose.transpose(&rows, half);
                }
                for i in 0..count {
                    let to = &mut to[at..at + PANEL];
                    for ((to, half), added) in
                        to.chunks_exact_mut(BLOCK_SIDE).zip(&halves).zip(added.chunks_exact(BLOCK_SIDE))
                    {
                        for ((to, value), added) in to.iter_mut().zip(&half[i]).zip(added) {
                            *to = value + added;
                        }
                    }
                    (at, x) = (at + PANEL, x + 1);
                    if x == width {
                        (at, x) = (at + (layout.line_stride - width) * PANEL, 0);
                    }
                }
            }
        }
    }
}

/// See [`BlockedLayout::unpack`].
struct Unpack<'a> {
    layout: BlockedLayout,
    image: usize,
    from: &'a [f32],
    bias: [f32; PANEL],
    count: usize,
    to: &'a mut [f32],
}

impl WithTranspose for Unpack<'_> {
    #[inline(always)]
    fn with_transpose<T: Transpose8x8>(self, transpose: T) {
        let Self { layout, image, from, bias, count, to } = self;
        let (plane, width) = (layout.plane(), layout.width);
        let (mut at, mut x) = ((layout.first + image * layout.image_stride) * PANEL, 0);
        let (mut rows, mut halves) = ([[0.0; BLOCK_SIDE]; BLOCK_SIDE], [[[0.0; BLOCK_SIDE]; BLOCK_SIDE]; 2]);
        for position in (0..plane).step_by(BLOCK_SIDE) {
            let now = BLOCK_SIDE.min(plane - position);
            for i in 0..now {
                let from = &from[at..at + PANEL];
                for ((half, from), bias) in
                    halves.iter_mut().zip(from.chunks_exact(BLOCK_SIDE)).zip(bias.chunks_exact(BLOCK_SIDE))
                {
                    for ((to, value), bias) in half[i].iter_mut().zip(from).zip(bias) {
                        *to = value + bias;
                    }
                }
                (at, x) = (at + PANEL, x + 1);
                if x == width {
                    (at, x) = (at + (layout.line_stride - width) * PANEL, 0);
                }
            }
            for (half, planes) in halves.iter().zip(to.chunks_mut(BLOCK_SIDE * plane)) {
                transpose.transpose(half, &mut rows);
                for (row, to) in rows.iter().zip(planes.chunks_exact_mut(plane)) {
                    if now == BLOCK_SIDE {
                        *to[position..].first_chunk_mut().expect("eight positions") = *row;
                    } else {
                        to[position..].iter_mut().zip(row).for_each(|(to, value)| *to = *value);
                    }
                }
            }
        }
        debug_assert_eq!(to.len(), count * plane);
    }
}
