//! Convolution by 3 × 3 kernels in the transformed domain of Winograd (`winograd.rs`).

use pulp::{Simd, WithSimd};
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::cpu;
use crate::geometry::Geometry;
use crate::planes::{Input, Output};
use crate::reduce::sum_of;
use crate::split::transpose;
use crate::vectorise::vectorise;
use crate::winograd::product::{AREA, Product, SQUARE};
use crate::winograd::tiles::{Frame, SIDE, Tiling};
use crate::winograd::transforms::{self, in_two_dimensions};

/// Points of the transformed domain.
const POINTS: usize = 36;
/// Taps of a kernel.
const TAPS: usize = 9;

/// Tiles that are worked on together: enough that the weights, which each run reads once, stay a small part of what it reads.
const TILES: usize = 64;

/// Fewest channels in and out: below, the padding to whole squares costs more than the transform saves.
const FEWEST_CHANNELS: usize = 8;

fn tiling(geometry: &Geometry, images: usize) -> Tiling {
    Tiling { images, height: geometry.height, width: geometry.width }
}

/// Whether the transformed domain is the faster way to convolve that many images.
pub(crate) fn pays(geometry: &Geometry, images: usize) -> bool {
    let tiles = tiling(geometry, images).tiles().next_multiple_of(SQUARE);
    let plane = images * geometry.plane();
    geometry.kernel == 3
        && geometry.channels_in.min(geometry.channels_out) >= FEWEST_CHANNELS
        // Products, against those of the direct form; the transforms cost about as much again as half of those.
        && POINTS * tiles * 3 <= 2 * TAPS * plane
}

/// How many images are computed together.
pub(crate) fn images_together(geometry: &Geometry) -> usize {
    TILES.div_ceil(tiling(geometry, 1).tiles().max(1)).max(1)
}

/// Transformed weights, [channel out][point][channel in], with channels in padded to whole squares by zeros.
#[derive(Debug)]
pub(crate) struct Weights {
    values: Buffer,
    /// From point to point.
    terms: usize,
    /// From channel to channel.
    row: usize,
}

impl Weights {
    /// Of `weight` [channel_out, channel_in, 3, 3].
    pub(crate) fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform(channels_out, channels_in, weight, (channels_in * TAPS, TAPS), false)
    }

    /// Of the input's gradient: the kernel turned by 180°, channels in and out exchanged.
    pub(crate) fn transposed(geometry: &Geometry, weight: &[f32]) -> Self {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        Self::transform(channels_in, channels_out, weight, (TAPS, channels_in * TAPS), true)
    }

    /// The kernel of row n and term k lies at n · `next.0` + k · `next.1`.
    fn transform(rows: usize, terms: usize, weight: &[f32], next: (usize, usize), turned: bool) -> Self {
        let padded = terms.next_multiple_of(SQUARE);
        // An odd number of squares' sides: rows that lie a power of two apart share few sets of the cache.
        let row = POINTS * padded + SQUARE;
        let mut values = Buffer::new(rows * row);
        values.par_chunks_exact_mut(row).enumerate().for_each(|(n, to)| {
            pulp::Arch::new().dispatch(FilterTask {
                weight,
                first: n * next.0,
                next: next.1,
                terms,
                padded,
                turned,
                to,
            });
        });
        Self { values, terms: padded, row }
    }
}

/// Transforms one row of kernels.
struct FilterTask<'a> {
    weight: &'a [f32],
    first: usize,
    next: usize,
    terms: usize,
    padded: usize,
    turned: bool,
    to: &'a mut [f32],
}

impl WithSimd for FilterTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { weight, first, next, terms, padded, turned, to } = self;
        let mut half = [[simd.splat_f32s(0.0); 6]; 3];
        for from in (0..padded).step_by(SQUARE) {
            let mut taps = [[0.0; SQUARE]; TAPS];
            for i in 0..SQUARE.min(terms.saturating_sub(from)) {
                let kernel: &[f32; TAPS] = weight[first + (from + i) * next..][..TAPS].try_into().expect("nine taps");
                for (tap, taps) in taps.iter_mut().enumerate() {
                    taps[i] = kernel[if turned { TAPS - 1 - tap } else { tap }];
                }
            }
            for lane in (0..SQUARE).step_by(S::F32_LANES) {
                in_two_dimensions::<transforms::Filter, S, 3, 6>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y| {
                        let mut row = [simd.splat_f32s(0.0); 3];
                        for (x, value) in row.iter_mut().enumerate() {
                            *value = S::as_simd_f32s(&taps[3 * y + x][lane..]).0[0];
                        }
                        row
                    },
                    #[inline(always)]
                    |y, x, value| {
                        let at = (6 * y + x) * padded + from + lane;
                        S::as_mut_simd_f32s(&mut to[at..]).0[0] = value;
                    },
                );
            }
        }
    }
}

/// Which planes are transformed to squares, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// Windows of an input: squares of [channel][tile].
    Windows,
    /// The same, turned: squares of [tile][channel].
    WindowsTurned,
    /// Tiles of a gradient: squares of [channel][tile].
    Gradient,
}

/// The squares of some channels' planes, [block of 16 channels][point][block of 16 tiles].
fn to_squares(
    tiling: &Tiling,
    input: &Input<'_>,
    channels: usize,
    way: Way,
    squares: &mut [f32],
    sums: Option<&mut [f32]>,
    threads: usize,
) {
    let blocks = tiling.tiles().div_ceil(SQUARE);
    let lead = if way == Way::Gradient { 0 } else { 1 };
    let frame = Frame::new(*tiling, lead, blocks * SQUARE);
    let mut none = vec![];
    let (sums, adds) = match sums {
        Some(sums) => (sums, true),
        None => {
            none.resize(channels, 0.0);
            (&mut none[..], false)
        }
    };
    let tasks = squares.par_chunks_exact_mut(POINTS * blocks * AREA).zip(sums.par_chunks_mut(SQUARE)).enumerate();
    let run = |(block, (squares, sums)): (usize, (&mut [f32], &mut [f32]))| {
        let (first, count) = (block * SQUARE, sums.len());
        let sums = adds.then_some(sums);
        cpu::with_spare(frame.len() + tiling.height * tiling.width, |spare| {
            let task = SquaresTask { tiling, frame: &frame, input, first, count, way, blocks, squares, sums, spare };
            pulp::Arch::new().dispatch(task);
        });
    };
    each(threads, tasks, run);
}

/// Runs on what an iterator gives, on all threads or on this one.
fn each<I: IndexedParallelIterator>(threads: usize, items: I, run: impl Fn(I::Item) + Send + Sync) {
    items.with_min_len(if threads > 1 { 1 } else { usize::MAX }).for_each(run);
}

struct SquaresTask<'a> {
    tiling: &'a Tiling,
    frame: &'a Frame,
    input: &'a Input<'a>,
    /// The block's first channel, and how many there are.
    first: usize,
    count: usize,
    way: Way,
    blocks: usize,
    squares: &'a mut [f32],
    /// To which each channel's sum is added.
    sums: Option<&'a mut [f32]>,
    /// Memory for the frame and a plane.
    spare: &'a mut [f32],
}

impl WithSimd for SquaresTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tiling, frame, input, first, count, way, blocks, squares, mut sums, spare } = self;
        let point = blocks * AREA;
        let (framed, spare) = spare.split_at_mut(frame.len());
        framed.fill(0.0);
        let (mut half, mut half_gradient) = ([[simd.splat_f32s(0.0); 6]; 6], [[simd.splat_f32s(0.0); 6]; 4]);
        for channel in 0..SQUARE {
            if channel >= count {
                // Terms that are padding.
                squares.chunks_exact_mut(AREA).for_each(|square| square[channel * SQUARE..][..SQUARE].fill(0.0));
                continue;
            }
            for image in 0..tiling.images {
                let plane = input.plane(image, first + channel, spare);
                if let Some(sums) = &mut sums {
                    sums[channel] += sum_of(plane, |v| v) as f32;
                }
                frame.set(framed, image, plane);
            }
            for tile in (0..blocks * SQUARE).step_by(S::F32_LANES) {
                let at = tile / SQUARE * AREA + channel * SQUARE + tile % SQUARE;
                if way == Way::Gradient {
                    in_two_dimensions::<transforms::OutputGradient, S, 4, 6>(
                        simd,
                        &mut half_gradient,
                        #[inline(always)]
                        |y| frame.quads(simd, framed, tile, (y, 0)),
                        #[inline(always)]
                        |y, x, value| {
                            let at = (6 * y + x) * point + at;
                            S::as_mut_simd_f32s(&mut squares[at..][..S::F32_LANES]).0[0] = value;
                        },
                    );
                } else {
                    in_two_dimensions::<transforms::Input, S, 6, 6>(
                        simd,
                        &mut half,
                        #[inline(always)]
                        |y| {
                            let [a, b, c, d] = frame.quads(simd, framed, tile, (y, 0));
                            let [e, f, ..] = frame.quads(simd, framed, tile, (y, SIDE));
                            [a, b, c, d, e, f]
                        },
                        #[inline(always)]
                        |y, x, value| {
                            let at = (6 * y + x) * point + at;
                            S::as_mut_simd_f32s(&mut squares[at..][..S::F32_LANES]).0[0] = value;
                        },
                    );
                }
            }
        }
        if way == Way::WindowsTurned {
            for square in squares.chunks_exact_mut(AREA) {
                let mut rows = [[0.0; SQUARE]; SQUARE];
                rows.iter_mut().zip(square.chunks_exact(SQUARE)).for_each(|(row, from)| row.copy_from_slice(from));
                for (to, row) in square.chunks_exact_mut(SQUARE).zip(transpose(rows)) {
                    to.copy_from_slice(&row);
                }
            }
        }
    }
}

/// Rows of the product that are worked on together: their sums at all points stay in the second-level cache.
fn rows_together(padded: usize, rows: usize, threads: usize) -> usize {
    const CACHED: usize = 256 << 10;
    let fitting = CACHED / (POINTS * padded * size_of::<f32>());
    // Twelve rows are whole blocks of every kind of vector.
    let share = if threads > 1 { rows.div_ceil(2 * threads) } else { rows };
    (fitting.min(share) / 12 * 12).max(12)
}

/// The convolution of `images` images of `input`, on `threads` threads.
pub(crate) fn forward(
    geometry: &Geometry,
    weights: &Weights,
    images: usize,
    input: &Input<'_>,
    bias: Option<&[f32]>,
    out: &mut Output<'_>,
    threads: usize,
) {
    let tiling = tiling(geometry, images);
    let (channels_in, channels_out) = (geometry.channels_in, geometry.channels_out);
    let blocks = tiling.tiles().div_ceil(SQUARE);
    let (padded, terms) = (blocks * SQUARE, channels_in.div_ceil(SQUARE));
    let squares_len = terms * POINTS * blocks * AREA;
    let row = SIDE * padded;
    cpu::with_scratch(squares_len + channels_out * SIDE * row, |scratch| {
        let (squares, quads) = scratch.split_at_mut(squares_len);
        to_squares(&tiling, input, channels_in, Way::Windows, squares, None, threads);
        let (squares, together) = (&*squares, rows_together(padded, channels_out, threads));
        let tasks = quads.par_chunks_mut(together * SIDE * row).enumerate();
        let run = |(i, quads): (usize, &mut [f32])| {
            let rows = quads.len() / (SIDE * row);
            cpu::with_spare(POINTS * rows * padded, |products| {
                let task = OutputTask { squares, weights, first: i * together, rows, terms, blocks, products, quads };
                pulp::Arch::new().dispatch(task);
            });
        };
        each(threads, tasks, run);
        let quads = &*quads;
        let join = |(image, mut out): (usize, Output<'_>)| {
            vectorise(
                #[inline(always)]
                || {
                    for (channel, quads) in quads.chunks_exact(SIDE * row).enumerate() {
                        let bias = bias.map_or(0.0, |bias| bias[channel]);
                        tiling.join(image, quads, row, bias, out.plane(0, channel));
                    }
                },
            );
        };
        each(threads, out.images(images).into_par_iter().enumerate(), join);
    });
}

/// The products at all points for some channels out, turned to tiles of the output.
struct OutputTask<'a> {
    squares: &'a [f32],
    weights: &'a Weights,
    first: usize,
    rows: usize,
    /// Blocks of channels in.
    terms: usize,
    blocks: usize,
    /// Memory for the products at all points.
    products: &'a mut [f32],
    quads: &'a mut [f32],
}

impl WithSimd for OutputTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { squares, weights, first, rows, terms, blocks, products, quads } = self;
        let padded = blocks * SQUARE;
        let of_point = rows * padded;
        for (point, products) in products.chunks_exact_mut(of_point).enumerate() {
            for block in 0..blocks {
                let product = Product {
                    runs: terms,
                    a: &squares[(point * blocks + block) * AREA..],
                    a_step: POINTS * blocks * AREA,
                    b: &weights.values[first * weights.row + point * weights.terms..],
                    b_row: weights.row,
                    b_step: SQUARE,
                    out: &mut products[block * SQUARE..],
                    out_row: padded,
                    rows,
                    add: false,
                };
                product.compute(simd);
            }
        }
        let products = &*products;
        let mut half = [[simd.splat_f32s(0.0); SIDE]; 6];
        let mut tiles = [[simd.splat_f32s(0.0); SIDE]; SIDE];
        for (channel, quads) in quads.chunks_exact_mut(SIDE * SIDE * padded).enumerate() {
            for tile in (0..padded).step_by(S::F32_LANES) {
                let first = channel * padded + tile;
                in_two_dimensions::<transforms::Output, S, 6, 4>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y| {
                        let mut row = [simd.splat_f32s(0.0); 6];
                        for (x, value) in row.iter_mut().enumerate() {
                            *value = S::as_simd_f32s(&products[(6 * y + x) * of_point + first..][..S::F32_LANES]).0[0];
                        }
                        row
                    },
                    #[inline(always)]
                    |y, x, value| tiles[y][x] = value,
                );
                for (line, tiles) in quads.chunks_exact_mut(SIDE * padded).zip(&tiles) {
                    let turned = simd.interleave_shfl_f32s(*tiles);
                    let to = &mut line[tile * SIDE..][..SIDE * S::F32_LANES];
                    S::as_mut_simd_f32s(to).0.copy_from_slice(&turned);
                }
            }
        }
    }
}

/// The gradients of weight and bias over some images, added up run by run.
#[derive(Debug)]
pub(crate) struct WeightGradient {
    geometry: Geometry,
    /// [block of 16 channels in][point][channel out][16]
    sums: Buffer,
    bias: Buffer,
    /// Whether the sums hold anything yet.
    begun: bool,
}

impl WeightGradient {
    pub(crate) fn new(geometry: Geometry) -> Self {
        let rows = geometry.channels_in.div_ceil(SQUARE) * POINTS * geometry.channels_out;
        Self { geometry, sums: Buffer::new(rows * SQUARE), bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give.
    pub(crate) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let Geometry { channels_in, channels_out, .. } = self.geometry;
        let tiling = tiling(&self.geometry, images);
        let add = std::mem::replace(&mut self.begun, true);
        let blocks = tiling.tiles().div_ceil(SQUARE);
        let of_block = POINTS * blocks * AREA;
        let (blocks_in, blocks_out) = (channels_in.div_ceil(SQUARE), channels_out.div_ceil(SQUARE));
        cpu::with_scratch((blocks_in + blocks_out) * of_block, |scratch| {
            let (squares, grad_squares) = scratch.split_at_mut(blocks_in * of_block);
            to_squares(&tiling, input, channels_in, Way::WindowsTurned, squares, None, threads);
            let grad = Input::plain(grad, channels_out, self.geometry.plane());
            let bias = Some(&mut self.bias[..]);
            to_squares(&tiling, &grad, channels_out, Way::Gradient, grad_squares, bias, threads);
            let (squares, grad_squares) = (&*squares, &*grad_squares);
            let tasks = self.sums.par_chunks_exact_mut(channels_out * SQUARE).enumerate();
            let run = |(i, sums): (usize, &mut [f32])| {
                let (block_in, point) = (i / POINTS, i % POINTS);
                for (block_out, sums) in sums.chunks_mut(AREA).enumerate() {
                    let product = Product {
                        runs: blocks,
                        a: &squares[block_in * of_block + point * blocks * AREA..],
                        a_step: AREA,
                        b: &grad_squares[block_out * of_block + point * blocks * AREA..],
                        b_row: SQUARE,
                        b_step: AREA,
                        rows: sums.len() / SQUARE,
                        out: sums,
                        out_row: SQUARE,
                        add,
                    };
                    pulp::Arch::new().dispatch(product);
                }
            };
            each(threads, tasks, run);
        });
    }

    /// The gradients of weight [channel_out, channel_in, 3, 3] and bias `[channel_out]`, from the sums of all threads.
    pub(crate) fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let Geometry { channels_in, channels_out, .. } = *geometry;
        let mut weight = Buffer::new(channels_out * channels_in * TAPS);
        let begun: Vec<&[f32]> = all.iter().filter(|sums| sums.begun).map(|sums| &sums.sums[..]).collect();
        weight.par_chunks_exact_mut(channels_in * TAPS).enumerate().for_each(|(channel, weight)| {
            pulp::Arch::new().dispatch(FilterGradientTask { sums: &begun, channel, channels_out, weight });
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
                in_two_dimensions::<transforms::FilterGradient, S, 6, 3>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y| {
                        let mut row = [simd.splat_f32s(0.0); 6];
                        for (x, value) in row.iter_mut().enumerate() {
                            let at = ((block * POINTS + 6 * y + x) * channels_out + channel) * SQUARE + lane;
                            for sums in sums {
                                *value = simd.add_f32s(*value, S::as_simd_f32s(&sums[at..][..S::F32_LANES]).0[0]);
                            }
                        }
                        row
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
