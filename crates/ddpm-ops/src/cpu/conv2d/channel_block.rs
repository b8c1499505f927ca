//! Sixteen channels side by side: planes turned to positions and back.

use crate::cpu::planes::{Input, Output};
use crate::cpu::squares::SQUARE;
use crate::cpu::transpose::{EIGHT, Turn, WithTurn, dispatch};

/// How the positions of some images lie, before their number is multiplied by the sixteen channels of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Positions {
    pub(crate) images: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    /// Where the first position of the first image lies.
    pub(crate) first: usize,
    /// From line to line.
    pub(crate) pitch: usize,
    /// From image to image.
    pub(crate) image: usize,
}

impl Positions {
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Writes channels `channels` of all images, `[position][16]`; channels beyond the last are zeros. `spare` holds sixteen
    /// planes and one.
    pub(crate) fn read(&self, input: &Input<'_>, channels: std::ops::Range<usize>, to: &mut [f32], spare: &mut [f32]) {
        dispatch(Read { positions: *self, input, channels, to, spare });
    }

    /// Takes channels `channels` of one image out of `[position][16]`, with each channel's bias added. `spare` holds sixteen
    /// planes.
    pub(crate) fn write(
        &self,
        (image, from): (usize, &[f32]),
        bias: Option<&[f32]>,
        channels: std::ops::Range<usize>,
        out: &mut Output<'_>,
        spare: &mut [f32],
    ) {
        let (plane, count) = (self.plane(), channels.len());
        let mut bias_of_block = [0.0; SQUARE];
        if let Some(bias) = bias {
            bias_of_block[..count].copy_from_slice(&bias[channels.clone()]);
        }
        let turned = |to: &mut [f32]| dispatch(Write { positions: *self, image, from, bias: bias_of_block, count, to });
        if let Some((values, start)) = out.block(0, channels.clone()) {
            return turned(&mut values[start..start + count * plane]);
        }
        // Half of them belong to another tensor.
        turned(&mut spare[..count * plane]);
        for (channel, values) in channels.zip(spare.chunks_exact(plane)) {
            out.plane(0, channel).copy_from_slice(values);
        }
    }
}

struct Read<'a> {
    positions: Positions,
    input: &'a Input<'a>,
    channels: std::ops::Range<usize>,
    to: &'a mut [f32],
    spare: &'a mut [f32],
}

impl WithTurn for Read<'_> {
    #[inline(always)]
    fn with_turn<T: Turn>(self, turn: T) {
        let Self { positions, input, channels, to, spare } = self;
        let (plane, width) = (positions.plane(), positions.width);
        let (zeros, spare) = spare.split_at_mut(plane);
        zeros.fill(0.0);
        for image in 0..positions.images {
            let mut planes = [&*zeros; SQUARE];
            let mut added = [0.0; SQUARE];
            let places = planes.iter_mut().zip(&mut added).zip(spare.chunks_exact_mut(plane));
            for (channel, ((from, added), spare)) in channels.clone().zip(places) {
                (*from, *added) = input.plane_and_added(image, channel, spare);
            }
            let (mut at, mut x) = ((positions.first + image * positions.image) * SQUARE, 0);
            let (mut rows, mut halves) = ([[0.0; EIGHT]; EIGHT], [[[0.0; EIGHT]; EIGHT]; 2]);
            for position in (0..plane).step_by(EIGHT) {
                let count = EIGHT.min(plane - position);
                for (half, planes) in halves.iter_mut().zip(planes.chunks_exact(EIGHT)) {
                    for (row, from) in rows.iter_mut().zip(planes) {
                        if count == EIGHT {
                            *row = *from[position..].first_chunk().expect("eight positions");
                        } else {
                            row.iter_mut().zip(&from[position..]).for_each(|(to, value)| *to = *value);
                        }
                    }
                    turn.turn(&rows, half);
                }
                for i in 0..count {
                    let to = &mut to[at..at + SQUARE];
                    for ((to, half), added) in to.chunks_exact_mut(EIGHT).zip(&halves).zip(added.chunks_exact(EIGHT)) {
                        for ((to, value), added) in to.iter_mut().zip(&half[i]).zip(added) {
                            *to = value + added;
                        }
                    }
                    (at, x) = (at + SQUARE, x + 1);
                    if x == width {
                        (at, x) = (at + (positions.pitch - width) * SQUARE, 0);
                    }
                }
            }
        }
    }
}

struct Write<'a> {
    positions: Positions,
    image: usize,
    from: &'a [f32],
    bias: [f32; SQUARE],
    count: usize,
    to: &'a mut [f32],
}

impl WithTurn for Write<'_> {
    #[inline(always)]
    fn with_turn<T: Turn>(self, turn: T) {
        let Self { positions, image, from, bias, count, to } = self;
        let (plane, width) = (positions.plane(), positions.width);
        let (mut at, mut x) = ((positions.first + image * positions.image) * SQUARE, 0);
        let (mut rows, mut halves) = ([[0.0; EIGHT]; EIGHT], [[[0.0; EIGHT]; EIGHT]; 2]);
        for position in (0..plane).step_by(EIGHT) {
            let now = EIGHT.min(plane - position);
            for i in 0..now {
                let from = &from[at..at + SQUARE];
                for ((half, from), bias) in
                    halves.iter_mut().zip(from.chunks_exact(EIGHT)).zip(bias.chunks_exact(EIGHT))
                {
                    for ((to, value), bias) in half[i].iter_mut().zip(from).zip(bias) {
                        *to = value + bias;
                    }
                }
                (at, x) = (at + SQUARE, x + 1);
                if x == width {
                    (at, x) = (at + (positions.pitch - width) * SQUARE, 0);
                }
            }
            for (half, planes) in halves.iter().zip(to.chunks_mut(EIGHT * plane)) {
                turn.turn(half, &mut rows);
                for (row, to) in rows.iter().zip(planes.chunks_exact_mut(plane)) {
                    if now == EIGHT {
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
