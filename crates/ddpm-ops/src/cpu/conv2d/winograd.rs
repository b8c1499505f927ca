//! Convolution by 3 × 3 kernels in the transformed domain of Winograd (`winograd.rs`).
//!
//! Sixteen channels lie side by side from the first step to the last (`channel_block.rs`), so that what is done to a tile is done
//! to vectors of channels. The gradient of the input is the convolution with the kernel turned by 180°; that of the weights is,
//! at each point, the product of the transformed input with the transformed gradient over all tiles.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::conv2d::channel_block::Positions;
use crate::cpu::conv2d::conv_kernel::{ConvKernel, ConvWeights, WeightGradientSums};
use crate::cpu::conv2d::winograd_transform::{self, POINTS, SIDE, Transform, in_two_dimensions};
use crate::cpu::geometry::Geometry;
use crate::cpu::planes::{Input, Output};
use crate::cpu::squares::{AREA, Lies, Product, SQUARE};
use crate::cpu::vectorise::vectorise;
use crate::cpu::{self, each};

/// Taps of a kernel.
const TAPS: usize = 9;

/// Tiles that are worked on together: enough that the weights, which each run reads once, stay a small part of what it reads.
const TILES: usize = 64;

/// Fewest channels in and out: below, the padding to whole squares costs more than the transform saves.
const FEWEST_CHANNELS: usize = 8;
/// Below, reading the weights takes longer than the products, and in this form there are four times as many.
const FEWEST_TILES: usize = 5;

/// How the planes of some images are cut into tiles, numbered image by image and line by line.
#[derive(Debug, Clone, Copy)]
struct Tiling {
    images: usize,
    height: usize,
    width: usize,
}

impl Tiling {
    fn new(geometry: &Geometry, images: usize) -> Self {
        Self { images, height: geometry.height, width: geometry.width }
    }

    fn rows(&self) -> usize {
        self.height.div_ceil(SIDE)
    }

    fn columns(&self) -> usize {
        self.width.div_ceil(SIDE)
    }

    fn tiles(&self) -> usize {
        self.images * self.rows() * self.columns()
    }

    /// Tiles, padded to whole squares.
    fn padded(&self) -> usize {
        self.tiles().next_multiple_of(SQUARE)
    }

    /// Whole tiles of all planes, with `border` positions around each plane.
    fn positions(&self, border: usize) -> Positions {
        let pitch = self.columns() * SIDE + 2 * border;
        let image = (self.rows() * SIDE + 2 * border) * pitch;
        let Self { images, height, width } = *self;
        Positions { images, height, width, first: border * (pitch + 1), pitch, image }
    }

    /// Where each tile begins, or its window if there is a border.
    fn starts(&self, positions: Positions) -> impl Iterator<Item = usize> {
        let (rows, columns) = (self.rows(), self.columns());
        (0..self.images).flat_map(move |image| {
            (0..rows * columns)
                .map(move |tile| image * positions.image + (tile / columns * positions.pitch + tile % columns) * SIDE)
        })
    }

    /// From point to point of a block of channels' squares, [point][tile][16]. An odd number of lines of the cache: a power of
    /// two would put all points in one set of it.
    fn of_point(&self) -> usize {
        self.padded() * SQUARE + SQUARE
    }

    /// From block of channels to block of channels.
    fn of_block(&self) -> usize {
        POINTS * self.of_point()
    }
}

/// Convolution by 3 × 3 kernels with the minimal filtering algorithm F(4 × 4, 3 × 3).
#[derive(Debug)]
pub(crate) struct Winograd;

impl ConvKernel for Winograd {
    fn name(&self) -> &'static str {
        "winograd"
    }

    fn supports(&self, geometry: &Geometry, images: usize) -> bool {
        geometry.kernel == 3
            && geometry.channels_in.min(geometry.channels_out) >= FEWEST_CHANNELS
            && Tiling::new(geometry, images).tiles() >= FEWEST_TILES
            // Products, against those of the direct form; the transforms cost about half as much again.
            && 3 * POINTS * Tiling::new(geometry, 1).tiles() <= 2 * TAPS * geometry.plane()
    }

    fn images_together(&self, geometry: &Geometry, images: usize, _: usize) -> usize {
        TILES.div_ceil(Tiling::new(geometry, 1).tiles().max(1)).max(1).min(images).max(1)
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

/// Transformed weights, [block of 16 channels out][point][block of 16 channels in][16 in][16 out], padded by zeros.
#[derive(Debug)]
struct Weights {
    values: Buffer,
    /// From point to point.
    of_point: usize,
}

impl Weights {
    fn erased(self) -> ConvWeights<'static> {
        let bytes = size_of_val(&self.values[..]);
        ConvWeights::packed(self, bytes)
    }

    /// Of `weight` [channel_out, channel_in, 3, 3].
    fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform((channels_out, channels_in), weight, (channels_in * TAPS, TAPS), false)
    }

    /// Of the input's gradient: the kernel turned by 180°, channels in and out exchanged.
    fn flipped(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform((channels_in, channels_out), weight, (TAPS, channels_in * TAPS), true)
    }

    /// The kernel of column n and term k lies at n · `next.0` + k · `next.1`.
    fn transform((columns, terms): (usize, usize), weight: &[f32], next: (usize, usize), turned: bool) -> Self {
        let of_point = terms.div_ceil(SQUARE) * AREA + SQUARE;
        let mut values = Buffer::new(columns.div_ceil(SQUARE) * POINTS * of_point);
        values.par_chunks_exact_mut(POINTS * of_point).enumerate().for_each(|(block, to)| {
            let first = block * SQUARE;
            let columns = SQUARE.min(columns - first);
            let weight = &weight[first * next.0..];
            Arch::new().dispatch(FilterTask { weight, columns, terms, next, turned, of_point, to });
        });
        Self { values, of_point }
    }
}

/// Transforms the kernels of a block of channels out.
struct FilterTask<'a> {
    weight: &'a [f32],
    columns: usize,
    terms: usize,
    next: (usize, usize),
    turned: bool,
    of_point: usize,
    to: &'a mut [f32],
}

impl WithSimd for FilterTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, columns, terms, next, turned, of_point, to } = self;
        let mut half = [[simd.splat_f32s(0.0); 6]; 3];
        for term in 0..terms.next_multiple_of(SQUARE) {
            let mut taps = [[0.0; SQUARE]; TAPS];
            if term < terms {
                for column in 0..columns {
                    let kernel = &weight[column * next.0 + term * next.1..][..TAPS];
                    for (tap, taps) in taps.iter_mut().enumerate() {
                        taps[column] = kernel[if turned { TAPS - 1 - tap } else { tap }];
                    }
                }
            }
            for lane in (0..SQUARE).step_by(S::F32_LANES) {
                in_two_dimensions::<winograd_transform::Filter, S, 3, 6>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| S::as_simd_f32s(&taps[3 * y + x][lane..]).0[0],
                    #[inline(always)]
                    |y, x, value| {
                        let at = (6 * y + x) * of_point + term * SQUARE + lane;
                        S::as_mut_simd_f32s(&mut to[at..at + S::F32_LANES]).0[0] = value;
                    },
                );
            }
        }
    }
}

/// The squares of some channels' planes: of windows transformed by `winograd_transform::Input`, or of tiles by `winograd_transform::OutputGradient`.
/// Adds each channel's sum to `sums`, where there are any.
fn to_squares<T: Transform<I, 6>, const I: usize>(
    tiling: &Tiling,
    input: &Input<'_>,
    channels: usize,
    squares: &mut [f32],
    sums: &mut [f32],
    threads: usize,
) {
    let positions = tiling.positions((I - SIDE) / 2);
    let framed = tiling.images * positions.image * SQUARE;
    let plane = tiling.height * tiling.width;
    // Sums that nobody wants are those of no channel.
    let mut sums = sums.chunks_mut(SQUARE);
    let tasks: Vec<_> = squares
        .chunks_exact_mut(tiling.of_block().max(1))
        .enumerate()
        .map(|(block, squares)| (block * SQUARE, squares, sums.next().unwrap_or_default()))
        .collect();
    each(threads, tasks.into_par_iter(), |(first, squares, sums)| {
        cpu::with_spare(framed + (SQUARE + 1) * plane, |spare| {
            let (framed, spare) = spare.split_at_mut(framed);
            framed.fill(0.0);
            positions.read(input, first..channels.min(first + SQUARE), framed, spare);
            let framed = &*framed;
            add_positions(framed, sums);
            Arch::new().dispatch(SquaresTask::<T, I> {
                tiling,
                positions,
                framed,
                squares,
                transform: Default::default(),
            });
        });
    });
}

/// The sum of each channel over all positions, added to `sums`.
fn add_positions(framed: &[f32], sums: &mut [f32]) {
    /// Positions summed in f32 before the sum is widened.
    const RUN: usize = 64;
    if sums.is_empty() {
        return;
    }
    let mut totals = [0.0f64; SQUARE];
    vectorise(
        #[inline(always)]
        |_| {
            for run in framed.chunks(RUN * SQUARE) {
                let mut lanes = [0.0f32; SQUARE];
                for position in run.chunks_exact(SQUARE) {
                    lanes.iter_mut().zip(position).for_each(|(lane, value)| *lane += value);
                }
                totals.iter_mut().zip(lanes).for_each(|(total, lane)| *total += f64::from(lane));
            }
        },
    );
    sums.iter_mut().zip(totals).for_each(|(sum, total)| *sum += total as f32);
}

struct SquaresTask<'a, T, const I: usize> {
    tiling: &'a Tiling,
    positions: Positions,
    framed: &'a [f32],
    squares: &'a mut [f32],
    transform: std::marker::PhantomData<T>,
}

impl<T: Transform<I, 6>, const I: usize> WithSimd for SquaresTask<'_, T, I> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, positions, framed, squares, .. } = self;
        let (of_point, lanes) = (tiling.of_point(), S::F32_LANES);
        let mut half = [[simd.splat_f32s(0.0); 6]; I];
        for (tile, start) in tiling.starts(positions).enumerate() {
            let window = &framed[start * SQUARE..];
            for lane in (0..SQUARE).step_by(lanes) {
                in_two_dimensions::<T, S, I, 6>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = (y * positions.pitch + x) * SQUARE + lane;
                        S::as_simd_f32s(&window[at..at + lanes]).0[0]
                    },
                    #[inline(always)]
                    |y, x, value| {
                        let at = (6 * y + x) * of_point + tile * SQUARE + lane;
                        S::as_mut_simd_f32s(&mut squares[at..at + lanes]).0[0] = value;
                    },
                );
            }
        }
        // Tiles that are padding.
        for point in squares.chunks_exact_mut(of_point) {
            point[tiling.tiles() * SQUARE..].fill(0.0);
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
    let (tiling, channels_out) = (Tiling::new(geometry, images), geometry.channels_out);
    let (terms, blocks_out) = (geometry.channels_in.div_ceil(SQUARE), channels_out.div_ceil(SQUARE));
    let positions = tiling.positions(0);
    let of_block_out = images * positions.image * SQUARE;
    let squares_len = terms * tiling.of_block();
    cpu::with_scratch(squares_len + blocks_out * of_block_out, |scratch| {
        let (squares, blocks) = scratch.split_at_mut(squares_len);
        to_squares::<winograd_transform::Input, 6>(&tiling, input, geometry.channels_in, squares, &mut [], threads);
        let squares = &*squares;
        each(threads, blocks.par_chunks_exact_mut(of_block_out.max(1)).enumerate(), |(block, out)| {
            cpu::with_spare(tiling.of_block(), |products| {
                let weights = &weights.values[block * POINTS * weights.of_point..][..POINTS * weights.of_point];
                Arch::new().dispatch(TilesTask { tiling, positions, terms, squares, weights, products, out });
            });
        });
        let blocks = &*blocks;
        let plane = geometry.plane();
        each(threads, out.images(images).into_par_iter().enumerate(), |(image, mut out)| {
            cpu::with_spare(SQUARE * plane, |spare| {
                for (block, from) in blocks.chunks_exact(of_block_out.max(1)).enumerate() {
                    let channels = block * SQUARE..channels_out.min((block + 1) * SQUARE);
                    positions.write((image, from), bias, channels, &mut out, spare);
                }
            });
        });
    });
}

/// The products at all points for a block of channels out, turned to tiles of the output.
struct TilesTask<'a> {
    tiling: Tiling,
    positions: Positions,
    /// Blocks of channels in.
    terms: usize,
    squares: &'a [f32],
    weights: &'a [f32],
    /// Memory for the products, laid out as squares are.
    products: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for TilesTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, positions, terms, squares, weights, products, out } = self;
        let (of_point, lanes) = (tiling.of_point(), S::F32_LANES);
        let of_weights = weights.len() / POINTS;
        for (point, out) in products.chunks_exact_mut(of_point).enumerate() {
            let product = Product {
                runs: terms,
                a: &weights[point * of_weights..],
                a_step: AREA,
                b: &squares[point * of_point..],
                b_lies: Lies::InRows(SQUARE),
                b_step: tiling.of_block(),
                out,
                out_row: SQUARE,
                rows: tiling.tiles(),
                add: false,
            };
            product.compute(simd);
        }
        let products = &*products;
        let mut half = [[simd.splat_f32s(0.0); SIDE]; 6];
        for (tile, start) in tiling.starts(positions).enumerate() {
            let out = &mut out[start * SQUARE..];
            for lane in (0..SQUARE).step_by(lanes) {
                in_two_dimensions::<winograd_transform::Output, S, 6, SIDE>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = (6 * y + x) * of_point + tile * SQUARE + lane;
                        S::as_simd_f32s(&products[at..at + lanes]).0[0]
                    },
                    #[inline(always)]
                    |y, x, value| {
                        let at = (y * positions.pitch + x) * SQUARE + lane;
                        S::as_mut_simd_f32s(&mut out[at..at + lanes]).0[0] = value;
                    },
                );
            }
        }
    }
}

/// The gradients of weight and bias over some images, added up run by run.
#[derive(Debug)]
struct WeightGradient {
    geometry: Geometry,
    /// [block of 16 channels in][point][channel out][16]
    sums: Buffer,
    bias: Buffer,
    /// Whether the sums hold anything yet.
    begun: bool,
}

impl WeightGradient {
    fn new(geometry: Geometry) -> Self {
        let rows = geometry.channels_in.div_ceil(SQUARE) * POINTS * geometry.channels_out;
        Self { geometry, sums: Buffer::new(rows * SQUARE), bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give.
    fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let Geometry { channels_in, channels_out, height, width, .. } = self.geometry;
        let tiling = Tiling::new(&self.geometry, images);
        let add = std::mem::replace(&mut self.begun, true);
        let (of_point, of_block) = (tiling.of_point(), tiling.of_block());
        let (blocks_in, blocks_out) = (channels_in.div_ceil(SQUARE), channels_out.div_ceil(SQUARE));
        cpu::with_scratch((blocks_in + blocks_out) * of_block, |scratch| {
            let (squares, grad_squares) = scratch.split_at_mut(blocks_in * of_block);
            to_squares::<winograd_transform::Input, 6>(&tiling, input, channels_in, squares, &mut [], threads);
            let grad = Input { height, width, ..Input::plain(grad, channels_out, height * width) };
            let bias = &mut self.bias;
            to_squares::<winograd_transform::OutputGradient, SIDE>(
                &tiling,
                &grad,
                channels_out,
                grad_squares,
                bias,
                threads,
            );
            let (squares, grad_squares) = (&*squares, &*grad_squares);
            let tasks = self.sums.par_chunks_exact_mut((channels_out * SQUARE).max(1)).enumerate();
            each(threads, tasks, |(i, sums)| {
                let (block_in, point) = (i / POINTS, i % POINTS);
                for (block_out, sums) in sums.chunks_mut(AREA).enumerate() {
                    Arch::new().dispatch(Product {
                        runs: tiling.padded() / SQUARE,
                        a: &squares[block_in * of_block + point * of_point..],
                        a_step: AREA,
                        b: &grad_squares[block_out * of_block + point * of_point..],
                        b_lies: Lies::InColumns,
                        b_step: AREA,
                        rows: sums.len() / SQUARE,
                        out: sums,
                        out_row: SQUARE,
                        add,
                    });
                }
            });
        });
    }

    /// The gradients of weight [channel_out, channel_in, 3, 3] and bias `[channel_out]`, from the sums of all threads.
    fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        let mut weight = Buffer::new(channels_out * channels_in * TAPS);
        let begun: Vec<&[f32]> = all.iter().filter(|sums| sums.begun).map(|sums| &sums.sums[..]).collect();
        weight.par_chunks_exact_mut((channels_in * TAPS).max(1)).enumerate().for_each(|(channel, weight)| {
            Arch::new().dispatch(FilterGradientTask { sums: &begun, channel, channels_out, weight });
        });
        let mut bias = Buffer::zeros(channels_out);
        for sums in all {
            bias.iter_mut().zip(&sums.bias[..]).for_each(|(sum, more)| *sum += more);
        }
        (weight, bias)
    }
}

/// Turns the sums of one channel out to kernels.
struct FilterGradientTask<'a> {
    sums: &'a [&'a [f32]],
    channel: usize,
    channels_out: usize,
    weight: &'a mut [f32],
}

impl WithSimd for FilterGradientTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sums, channel, channels_out, weight } = self;
        let mut half = [[simd.splat_f32s(0.0); 3]; 6];
        for (block, weight) in weight.chunks_mut(SQUARE * TAPS).enumerate() {
            let mut taps = [[0.0; SQUARE]; TAPS];
            for lane in (0..SQUARE).step_by(S::F32_LANES) {
                in_two_dimensions::<winograd_transform::FilterGradient, S, 6, 3>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y, x| {
                        let at = ((block * POINTS + 6 * y + x) * channels_out + channel) * SQUARE + lane;
                        let mut total = simd.splat_f32s(0.0);
                        for sums in sums {
                            total = simd.add_f32s(total, S::as_simd_f32s(&sums[at..at + S::F32_LANES]).0[0]);
                        }
                        total
                    },
                    #[inline(always)]
                    |y, x, value| S::as_mut_simd_f32s(&mut taps[3 * y + x][lane..]).0[0] = value,
                );
            }
            for (i, kernel) in weight.chunks_exact_mut(TAPS).enumerate() {
                kernel.iter_mut().zip(&taps).for_each(|(to, taps)| *to = taps[i]);
            }
        }
    }
}
