//! Convolution by 1 × 1 kernels as products of squares (`squares.rs`): no lowering, a column is a position.

use pulp::Arch;
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::squares::{AREA, Lies, Product, SQUARE};
use crate::cpu::transpose::{EIGHT, Turn, WithTurn, dispatch};
use crate::cpu::vectorise::vectorise;
use crate::cpu::{self, each};

/// Positions that are worked on together: enough that the weights, which each run reads once, stay a small part of what it
/// reads, few enough that what lies between the steps stays in the cache.
const POSITIONS: usize = 256;

/// Convolution by 1 × 1 kernels: one matrix product over the channels, without lowering.
#[derive(Debug)]
pub(crate) struct Pointwise;

impl ConvKernel for Pointwise {
    fn name(&self) -> &'static str {
        "pointwise"
    }

    fn supports(&self, geometry: &Geometry, _: usize) -> bool {
        geometry.kernel == 1
    }

    fn images_together(&self, geometry: &Geometry, images: usize, _: usize) -> usize {
        POSITIONS.div_ceil(geometry.plane().max(1)).max(1).min(images).max(1)
    }

    fn divides_its_work(&self) -> bool {
        true
    }

    fn pack<'a>(&self, geometry: &Geometry, weight: &'a [f32]) -> ConvWeights<'a> {
        Weights::new(geometry, weight).erased()
    }

    fn pack_flipped(&self, geometry: &Geometry, weight: &[f32]) -> ConvWeights<'static> {
        Weights::flipped(geometry, weight).erased()
    }

    fn forward(
        &self,
        geometry: &Geometry,
        weights: &ConvWeights<'_>,
        images: usize,
        input: &Input<'_>,
        bias: Option<&[f32]>,
        out: &mut Output<'_>,
        threads: usize,
    ) {
        forward(geometry, weights.layout(), images, input, bias, out, threads);
    }

    fn gradient_sums(&self, geometry: &Geometry) -> WeightGradientSums {
        WeightGradientSums::new(WeightGradient::new(*geometry))
    }

    fn accumulate(
        &self,
        sums: &mut WeightGradientSums,
        images: usize,
        input: &Input<'_>,
        grad: &[f32],
        threads: usize,
    ) {
        sums.get_mut::<WeightGradient>().add(images, input, grad, threads);
    }

    fn finish(&self, geometry: &Geometry, sums: Vec<WeightGradientSums>) -> (Buffer, Buffer) {
        WeightGradient::finish(geometry, &WeightGradientSums::into_vec(sums))
    }
}

/// Weights, [channel out][channel in], with channels in padded to whole squares by zeros.
#[derive(Debug)]
struct Weights {
    values: Buffer,
    row: usize,
}

impl Weights {
    fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.values[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Of `weight` [channel_out, channel_in, 1, 1].
    fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        Self::lay(geometry.channels_out, geometry.channels_in, weight, (geometry.channels_in, 1))
    }

    /// Of the input's gradient: channels in and out exchanged.
    fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
        Self::lay(geometry.channels_in, geometry.channels_out, weight, (1, geometry.channels_in))
    }

    /// The weight of row n and term k lies at n · `next.0` + k · `next.1`.
    fn lay(rows: usize, terms: usize, weight: &[f32], next: (usize, usize)) -> Self {
        let row = terms.next_multiple_of(SQUARE);
        let mut values = Buffer::new(rows * row);
        for (n, to) in values.chunks_exact_mut(row.max(1)).enumerate() {
            let from = weight[n * next.0..].iter().step_by(next.1).take(terms);
            to.iter_mut().zip(from).for_each(|(to, weight)| *to = *weight);
            to[terms..].fill(0.0);
        }
        Self { values, row }
    }
}

/// Planes of some images in squares of 16 channels by 16 positions, [block of channels][block of positions], zeros where there
/// are no more of either.
fn to_squares(images: usize, plane: usize, input: &Input<'_>, channels: usize, squares: &mut [f32], threads: usize) {
    let of_block = (images * plane).next_multiple_of(SQUARE) * SQUARE;
    each(threads, squares.par_chunks_exact_mut(of_block.max(1)).enumerate(), |(block, squares)| {
        let first = block * SQUARE;
        let count = SQUARE.min(channels - first);
        cpu::with_spare(plane, |spare| {
            vectorise(
                #[inline(always)]
                |_| {
                    if count < SQUARE {
                        squares.fill(0.0);
                    } else if let Some(last) = squares.len().checked_sub(AREA) {
                        squares[last..].fill(0.0);
                    }
                    // Image by image: channels of one lie side by side in memory.
                    for image in 0..images {
                        for channel in 0..count {
                            let (mut plane_left, added) = input.plane_and_added(image, first + channel, spare);
                            let mut position = image * plane;
                            while !plane_left.is_empty() {
                                let (block, at) = (position / SQUARE, position % SQUARE);
                                let (now, later) = plane_left.split_at(plane_left.len().min(SQUARE - at));
                                let to = &mut squares[block * AREA + channel * SQUARE + at..];
                                if let (Ok(now), Some(to)) = (<&[f32; SQUARE]>::try_from(now), to.first_chunk_mut()) {
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

/// Exchanges rows and columns of each square.
struct TurnSquares<'a>(&'a mut [f32]);

impl WithTurn for TurnSquares<'_> {
    #[inline(always)]
    fn with_turn<T: Turn>(self, turn: T) {
        let mut rows = [[0.0; EIGHT]; EIGHT];
        let mut turned = [[[0.0; EIGHT]; EIGHT]; 4];
        for square in self.0.chunks_exact_mut(AREA) {
            let corner = |i: usize| (i / 2 * EIGHT, i % 2 * EIGHT);
            for (i, turned) in turned.iter_mut().enumerate() {
                let (row, column) = corner(i);
                for (j, to) in rows.iter_mut().enumerate() {
                    to.copy_from_slice(&square[(row + j) * SQUARE + column..][..EIGHT]);
                }
                turn.turn(&rows, turned);
            }
            for (i, turned) in turned.iter().enumerate() {
                let (row, column) = corner(i);
                for (j, values) in turned.iter().enumerate() {
                    square[(column + j) * SQUARE + row..][..EIGHT].copy_from_slice(values);
                }
            }
        }
    }
}

/// The convolution of `images` images of `input`, on `threads` threads.
fn forward(
    geometry: &Geometry,
    weights: &Weights,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
    threads: usize,
) {
    let (plane, channels_out) = (geometry.plane(), geometry.channels_out);
    let padded = (images * plane).next_multiple_of(SQUARE);
    let terms = geometry.channels_in.div_ceil(SQUARE);
    let squares_len = terms * padded * SQUARE;
    cpu::with_scratch(squares_len + channels_out * padded, |scratch| {
        let (squares, rows) = scratch.split_at_mut(squares_len);
        to_squares(images, plane, input, geometry.channels_in, squares, threads);
        let squares = &*squares;
        // Twelve rows are whole blocks of every kind of vector.
        let together = (channels_out.div_ceil(if threads > 1 { 2 * threads } else { 1 })).next_multiple_of(12).min(48);
        each(threads, rows.par_chunks_mut((together * padded).max(1)).enumerate(), |(i, out)| {
            for block in 0..padded / SQUARE {
                Arch::new().dispatch(Product {
                    runs: terms,
                    a: &squares[block * AREA..],
                    a_step: padded * SQUARE,
                    b: &weights.values[i * together * weights.row..],
                    b_lies: Lies::InRows(weights.row),
                    b_step: SQUARE,
                    rows: out.len() / padded,
                    out: &mut out[block * SQUARE..],
                    out_row: padded,
                    add: false,
                });
            }
        });
        let rows = &*rows;
        each(threads, out.images(images).into_par_iter().enumerate(), |(image, mut out)| {
            vectorise(
                #[inline(always)]
                |_| {
                    for (channel, row) in rows.chunks_exact(padded.max(1)).enumerate() {
                        let (bias, to) = (bias.map_or(0.0, |bias| bias[channel]), out.plane(0, channel));
                        to.iter_mut().zip(&row[image * plane..]).for_each(|(to, value)| *to = value + bias);
                    }
                },
            );
        });
    });
}

/// The gradients of weight and bias over some images, added up run by run.
#[derive(Debug)]
struct WeightGradient {
    geometry: Geometry,
    /// [block of 16 channels in][channel out][16]
    sums: Buffer,
    bias: Buffer,
    /// Whether the sums hold anything yet.
    begun: bool,
}

impl WeightGradient {
    fn new(geometry: Geometry) -> Self {
        let sums = Buffer::new(geometry.channels_in.div_ceil(SQUARE) * geometry.channels_out * SQUARE);
        Self { geometry, sums, bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give.
    fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let (Geometry { channels_in, channels_out, .. }, plane) = (self.geometry, self.geometry.plane());
        let add = std::mem::replace(&mut self.begun, true);
        let of_block = (images * plane).next_multiple_of(SQUARE) * SQUARE;
        let (blocks_in, blocks_out) = (channels_in.div_ceil(SQUARE), channels_out.div_ceil(SQUARE));
        cpu::with_scratch((blocks_in + blocks_out) * of_block, |scratch| {
            let (squares, grad_squares) = scratch.split_at_mut(blocks_in * of_block);
            to_squares(images, plane, input, channels_in, squares, threads);
            each(threads, squares.par_chunks_exact_mut(of_block.max(1)), |block| dispatch(TurnSquares(block)));
            let grad = Input::plain(grad, channels_out, plane);
            to_squares(images, plane, &grad, channels_out, grad_squares, threads);
            let (squares, grad_squares) = (&*squares, &*grad_squares);
            let blocks_of_bias = grad_squares.chunks_exact(of_block.max(1)).zip(self.bias.chunks_mut(SQUARE));
            for (squares, bias) in blocks_of_bias {
                vectorise(
                    #[inline(always)]
                    |_| add_rows(squares, bias),
                );
            }
            each(
                threads,
                self.sums.par_chunks_exact_mut((channels_out * SQUARE).max(1)).enumerate(),
                |(block, sums)| {
                    for (block_out, sums) in sums.chunks_mut(AREA).enumerate() {
                        Arch::new().dispatch(Product {
                            runs: of_block / AREA,
                            a: &squares[block * of_block..],
                            a_step: AREA,
                            b: &grad_squares[block_out * of_block..],
                            b_lies: Lies::InRows(SQUARE),
                            b_step: AREA,
                            rows: sums.len() / SQUARE,
                            out: sums,
                            out_row: SQUARE,
                            add,
                        });
                    }
                },
            );
        });
    }

    /// The gradients of weight [channel_out, channel_in, 1, 1] and bias `[channel_out]`, from the sums of all threads.
    fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        let (mut weight, mut bias) = (Buffer::zeros(channels_out * channels_in), Buffer::zeros(channels_out));
        for sums in all.iter().filter(|sums| sums.begun) {
            for (channel, weight) in weight.chunks_exact_mut(channels_in.max(1)).enumerate() {
                for (block, weight) in weight.chunks_mut(SQUARE).enumerate() {
                    let sums = &sums.sums[(block * channels_out + channel) * SQUARE..];
                    weight.iter_mut().zip(sums).for_each(|(weight, sum)| *weight += sum);
                }
            }
            bias.iter_mut().zip(&sums.bias[..]).for_each(|(sum, more)| *sum += more);
        }
        (weight, bias)
    }
}

/// The sum of each row over all squares, added to `sums`.
#[inline(always)]
fn add_rows(squares: &[f32], sums: &mut [f32]) {
    for (row, sum) in sums.iter_mut().enumerate() {
        let mut lanes = [0.0; SQUARE];
        for square in squares.chunks_exact(AREA) {
            lanes.iter_mut().zip(&square[row * SQUARE..][..SQUARE]).for_each(|(lane, value)| *lane += value);
        }
        *sum += lanes.iter().sum::<f32>();
    }
}
