//! Convolution as products of squares (`squares.rs`): 1 × 1 kernels as they are, 3 × 3 kernels in the transformed domain of
//! Winograd (`winograd.rs`).
//!
//! In both, a convolution is one matrix product over the channels for each of some points: one point and a column for each
//! position, or 36 points and a column for each tile. The gradient of the input is the convolution with the kernel turned by
//! 180°. That of the weights is, at each point, the product of input and gradient over all columns.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::cpu;
use crate::geometry::Geometry;
use crate::planes::{Input, Output};
use crate::reduce::sum_of;
use crate::split::transpose;
use crate::squares::{AREA, Product, SQUARE};
use crate::vectorise::vectorise;
use crate::winograd::tiles::{Frame, SIDE, Tiling};
use crate::winograd::transforms::{self, in_two_dimensions};

/// Taps of a 3 × 3 kernel.
const TAPS: usize = 9;

/// Fewest channels in and out of a 3 × 3 convolution: below, the padding to whole squares costs more than Winograd saves.
const FEWEST_CHANNELS: usize = 8;

/// What the products are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Domain {
    /// Kernels of one tap; a column is a position.
    Positions,
    /// Kernels of 3 × 3 taps, transformed; a column is a tile.
    Winograd,
}

impl Domain {
    fn of(geometry: &Geometry) -> Self {
        if geometry.kernel == 1 { Self::Positions } else { Self::Winograd }
    }

    /// How many products there are for each pair of channels.
    fn points(self) -> usize {
        match self {
            Self::Positions => 1,
            Self::Winograd => 36,
        }
    }

    fn taps(self) -> usize {
        match self {
            Self::Positions => 1,
            Self::Winograd => TAPS,
        }
    }

    /// Positions of the output that one column gives.
    fn outputs(self) -> usize {
        match self {
            Self::Positions => 1,
            Self::Winograd => SIDE * SIDE,
        }
    }

    /// Columns that are worked on together: enough that the weights, which each run reads once, stay a small part of what it
    /// reads, few enough that what lies between the steps stays in the cache.
    fn columns_together(self) -> usize {
        match self {
            Self::Positions => 256,
            Self::Winograd => 64,
        }
    }

    fn columns(self, tiling: &Tiling) -> usize {
        match self {
            Self::Positions => tiling.images * tiling.height * tiling.width,
            Self::Winograd => tiling.tiles(),
        }
    }
}

/// How squares lie: [block of 16 channels][point][block of 16 columns].
#[derive(Debug, Clone, Copy)]
struct Layout {
    points: usize,
    /// Blocks of columns.
    blocks: usize,
}

impl Layout {
    fn new(domain: Domain, tiling: &Tiling) -> Self {
        Self { points: domain.points(), blocks: domain.columns(tiling).div_ceil(SQUARE) }
    }

    /// Columns, padded to whole blocks.
    fn padded(self) -> usize {
        self.blocks * SQUARE
    }

    /// From point to point. An odd number of lines of the cache: a power of two would put all points in one set of it.
    fn of_point(self) -> usize {
        self.blocks * AREA + SQUARE
    }

    /// From block of channels to block of channels.
    fn of_block(self) -> usize {
        self.points * self.of_point()
    }

    /// The squares of a block of channels.
    #[inline(always)]
    fn squares(self, block: &mut [f32]) -> impl Iterator<Item = &mut [f32]> {
        block.chunks_exact_mut(self.of_point()).flat_map(|point| point.chunks_exact_mut(AREA))
    }
}

fn tiling(geometry: &Geometry, images: usize) -> Tiling {
    Tiling { images, height: geometry.height, width: geometry.width }
}

/// Whether this is the fastest way to convolve that many images.
pub(crate) fn pays(geometry: &Geometry, images: usize) -> bool {
    match geometry.kernel {
        1 => true,
        3 => {
            let columns = tiling(geometry, images).tiles().next_multiple_of(SQUARE);
            geometry.channels_in.min(geometry.channels_out) >= FEWEST_CHANNELS
                // Products, against those of the direct form; the transforms cost about half as much again.
                && Domain::Winograd.points() * columns * 3 <= 2 * TAPS * images * geometry.plane()
        }
        _ => false,
    }
}

/// How many images are computed together.
pub(crate) fn images_together(geometry: &Geometry) -> usize {
    let domain = Domain::of(geometry);
    domain.columns_together().div_ceil(domain.columns(&tiling(geometry, 1)).max(1)).max(1)
}

/// Weights, transformed where the domain is: [channel out][point][channel in], with channels in padded to whole squares by
/// zeros.
#[derive(Debug)]
pub(crate) struct Weights {
    values: Buffer,
    /// From point to point.
    terms: usize,
    /// From channel to channel.
    row: usize,
}

impl Weights {
    /// Of `weight` [channel_out, channel_in, k, k].
    pub(crate) fn new(geometry: &Geometry, weight: &[f32]) -> Self {
        let (Geometry { channels_in, channels_out, .. }, domain) = (*geometry, Domain::of(geometry));
        let next = (channels_in * domain.taps(), domain.taps());
        Self::transform(domain, (channels_out, channels_in), weight, next, false)
    }

    /// Of the input's gradient: the kernel turned by 180°, channels in and out exchanged.
    pub(crate) fn transposed(geometry: &Geometry, weight: &[f32]) -> Self {
        let (Geometry { channels_in, channels_out, .. }, domain) = (*geometry, Domain::of(geometry));
        let next = (domain.taps(), channels_in * domain.taps());
        Self::transform(domain, (channels_in, channels_out), weight, next, true)
    }

    /// The kernel of row n and term k lies at n · `next.0` + k · `next.1`.
    fn transform(
        domain: Domain,
        (rows, terms): (usize, usize),
        weight: &[f32],
        next: (usize, usize),
        turned: bool,
    ) -> Self {
        let padded = terms.next_multiple_of(SQUARE);
        // An odd number of squares' sides: rows that lie a power of two apart share few sets of the cache.
        let row = domain.points() * padded + SQUARE;
        let mut values = Buffer::new(rows * row);
        values.par_chunks_exact_mut(row).enumerate().for_each(|(n, to)| {
            let first = n * next.0;
            match domain {
                Domain::Winograd => {
                    Arch::new().dispatch(FilterTask { weight, first, next: next.1, terms, padded, turned, to });
                }
                Domain::Positions => {
                    let kernels = weight[first..].iter().step_by(next.1).take(terms);
                    to.iter_mut().zip(kernels).for_each(|(to, weight)| *to = *weight);
                    to[terms..].fill(0.0);
                }
            }
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

/// Which planes are turned to squares, and how.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Way {
    /// An input, in squares of [channel][column].
    Input,
    /// The same, turned: squares of [column][channel].
    InputTurned,
    /// The gradient of an output, in squares of [channel][column].
    Gradient,
}

/// Squares of some channels' planes, [block of 16 channels][point][block of 16 columns]. Adds each channel's sum to `sums`,
/// where there are any.
fn to_squares(
    (domain, tiling): (Domain, &Tiling),
    input: &Input<'_>,
    channels: usize,
    way: Way,
    squares: &mut [f32],
    sums: &mut [f32],
    threads: usize,
) {
    let layout = Layout::new(domain, tiling);
    let frame = (domain == Domain::Winograd).then(|| {
        let lead = if way == Way::Gradient { 0 } else { 1 };
        Frame::new(*tiling, lead, layout.padded())
    });
    let (framed, plane) = (frame.as_ref().map_or(0, Frame::len), tiling.height * tiling.width);
    let gathered = if frame.is_some() { SQUARE * tiling.images * plane } else { 0 };
    // Sums that nobody wants are those of no channel.
    let mut sums = sums.chunks_mut(SQUARE);
    let tasks: Vec<_> = squares
        .chunks_exact_mut(layout.of_block())
        .enumerate()
        .map(|(block, squares)| (block * SQUARE, squares, sums.next().unwrap_or_default()))
        .collect();
    each(threads, tasks.into_par_iter(), |(first, squares, sums)| {
        let count = SQUARE.min(channels - first);
        cpu::with_spare(framed + gathered + plane, |spare| {
            let (framed, spare) = spare.split_at_mut(framed);
            let (gathered, spare) = spare.split_at_mut(gathered);
            let planes = Planes { input, images: tiling.images, first, count, sums, spare };
            match &frame {
                Some(frame) => {
                    let gradient = way == Way::Gradient;
                    Arch::new().dispatch(SquaresTask {
                        planes,
                        plane,
                        gathered,
                        frame,
                        framed,
                        gradient,
                        layout,
                        squares,
                    });
                }
                None => planes.copy_to_squares(squares),
            }
            if way == Way::InputTurned {
                turn(layout, squares);
            }
        });
    });
}

/// Runs on what an iterator gives, on all threads or on this one.
fn each<I: IndexedParallelIterator>(threads: usize, items: I, run: impl Fn(I::Item) + Send + Sync) {
    items.with_min_len(if threads > 1 { 1 } else { usize::MAX }).for_each(run);
}

/// Exchanges rows and columns of each square.
fn turn(layout: Layout, squares: &mut [f32]) {
    vectorise(
        #[inline(always)]
        || {
            for square in layout.squares(squares) {
                let mut rows = [[0.0; SQUARE]; SQUARE];
                rows.iter_mut().zip(square.chunks_exact(SQUARE)).for_each(|(row, from)| row.copy_from_slice(from));
                for (to, row) in square.chunks_exact_mut(SQUARE).zip(transpose(rows)) {
                    to.copy_from_slice(&row);
                }
            }
        },
    );
}

/// The planes of a block of channels.
struct Planes<'a> {
    input: &'a Input<'a>,
    images: usize,
    /// The block's first channel, and how many there are.
    first: usize,
    count: usize,
    /// To which each channel's sum is added; empty where none is wanted.
    sums: &'a mut [f32],
    /// Memory for a plane.
    spare: &'a mut [f32],
}

impl Planes<'_> {
    /// A plane, and what is to be added to it.
    #[inline(always)]
    fn plane(&mut self, image: usize, channel: usize) -> (&[f32], f32) {
        self.input.plane_and_added(image, self.first + channel, self.spare)
    }

    /// All planes, [channel][image][plane]. Image by image: channels of one lie side by side in memory.
    #[inline(always)]
    fn gather(&mut self, plane: usize, to: &mut [f32]) {
        let images = self.images;
        for image in 0..images {
            for channel in 0..self.count {
                let (from, added) = self.plane(image, channel);
                let to = &mut to[(channel * images + image) * plane..][..plane];
                to.iter_mut().zip(from).for_each(|(to, value)| *to = value + added);
            }
        }
    }

    /// [block of 16 positions][channel][16], zeros where there are no more channels or positions.
    fn copy_to_squares(mut self, squares: &mut [f32]) {
        vectorise(
            #[inline(always)]
            || {
                if self.count < SQUARE {
                    squares.fill(0.0);
                } else if let Some(last) = squares.len().checked_sub(AREA + SQUARE) {
                    squares[last..].fill(0.0);
                }
                // Image by image: channels of one lie side by side in memory.
                let mut first = 0;
                for image in 0..self.images {
                    let mut next = first;
                    for channel in 0..self.count {
                        let (mut plane, added) = self.plane(image, channel);
                        let mut position = first;
                        while !plane.is_empty() {
                            let (block, at) = (position / SQUARE, position % SQUARE);
                            let (now, later) = plane.split_at(plane.len().min(SQUARE - at));
                            let to = &mut squares[block * AREA + channel * SQUARE + at..];
                            if let (Ok(now), Some(to)) = (<&[f32; SQUARE]>::try_from(now), to.first_chunk_mut()) {
                                *to = now.map(|value| value + added);
                            } else {
                                to.iter_mut().zip(now).for_each(|(to, value)| *to = value + added);
                            }
                            position += now.len();
                            plane = later;
                        }
                        next = position;
                    }
                    first = next;
                }
                for channel in 0..self.count {
                    if let Some(sum) = self.sums.get_mut(channel) {
                        let mut lanes = [0.0; SQUARE];
                        for square in squares.chunks_exact(AREA) {
                            let row = &square[channel * SQUARE..][..SQUARE];
                            lanes.iter_mut().zip(row).for_each(|(lane, value)| *lane += value);
                        }
                        *sum += lanes.iter().sum::<f32>();
                    }
                }
            },
        );
    }
}

/// Transforms the planes of a block of channels.
struct SquaresTask<'a> {
    planes: Planes<'a>,
    /// Numbers of a plane.
    plane: usize,
    /// Memory for all planes.
    gathered: &'a mut [f32],
    frame: &'a Frame,
    /// Memory for the frame.
    framed: &'a mut [f32],
    /// Whether they are tiles of a gradient rather than windows of an input.
    gradient: bool,
    layout: Layout,
    squares: &'a mut [f32],
}

impl WithSimd for SquaresTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { mut planes, plane, gathered, frame, framed, gradient, layout, squares } = self;
        let lanes = S::F32_LANES;
        let zero = simd.splat_f32s(0.0);
        framed.fill(0.0);
        let of_channel = planes.images * plane;
        planes.gather(plane, gathered);
        let (mut half, mut half_gradient) = ([[zero; 6]; 6], [[zero; 6]; 4]);
        let mut turned = [[zero; 6]; 6];
        for channel in 0..SQUARE {
            if channel >= planes.count {
                // Terms that are padding.
                layout.squares(squares).for_each(|square| square[channel * SQUARE..][..SQUARE].fill(0.0));
                continue;
            }
            for (image, plane) in gathered[channel * of_channel..][..of_channel].chunks_exact(plane).enumerate() {
                frame.set(framed, image, plane);
            }
            if let Some(sum) = planes.sums.get_mut(channel) {
                // Around the planes there are zeros.
                *sum += sum_of(framed, |v| v) as f32;
            }
            for tile in (0..layout.padded()).step_by(lanes) {
                if gradient {
                    in_two_dimensions::<transforms::OutputGradient, S, 4, 6>(
                        simd,
                        &mut half_gradient,
                        #[inline(always)]
                        |y| frame.quads(simd, framed, tile, (y, 0)),
                        #[inline(always)]
                        |y, x, value| turned[y][x] = value,
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
                        |y, x, value| turned[y][x] = value,
                    );
                }
                let at = tile / SQUARE * AREA + channel * SQUARE + tile % SQUARE;
                for (squares, value) in squares.chunks_exact_mut(layout.of_point()).zip(turned.as_flattened()) {
                    S::as_mut_simd_f32s(&mut squares[at..at + lanes]).0[0] = *value;
                }
            }
        }
    }
}

/// Rows of the product that are worked on together: their sums at all points stay in the second-level cache.
fn rows_together(of_row: usize, rows: usize, threads: usize) -> usize {
    const CACHED: usize = 256 << 10;
    let fitting = CACHED / (of_row * size_of::<f32>()).max(1);
    let share = if threads > 1 { rows.div_ceil(2 * threads) } else { rows };
    // Twelve rows are whole blocks of every kind of vector.
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
    let (domain, tiling) = (Domain::of(geometry), tiling(geometry, images));
    let (channels_in, channels_out) = (geometry.channels_in, geometry.channels_out);
    let layout = Layout::new(domain, &tiling);
    let (padded, terms) = (layout.padded(), channels_in.div_ceil(SQUARE));
    let squares_len = terms * layout.of_block();
    let row = domain.outputs() * padded;
    cpu::with_scratch(squares_len + channels_out * row, |scratch| {
        let (squares, rows) = scratch.split_at_mut(squares_len);
        to_squares((domain, &tiling), input, channels_in, Way::Input, squares, &mut [], threads);
        let squares = &*squares;
        let together = rows_together(domain.points() * padded, channels_out, threads);
        let tasks = rows.par_chunks_mut((together * row).max(1)).enumerate();
        each(threads, tasks, |(i, out)| {
            let (first, rows) = (i * together, out.len() / row);
            let products = Products { squares, layout, weights, first, rows, terms };
            match domain {
                Domain::Positions => Arch::new().dispatch(PositionsTask { products, out }),
                Domain::Winograd => cpu::with_spare(products.len(), |spare| {
                    Arch::new().dispatch(TilesTask { products, spare, out });
                }),
            }
        });
        let rows = &*rows;
        each(threads, out.images(images).into_par_iter().enumerate(), |(image, mut out)| {
            vectorise(
                #[inline(always)]
                || {
                    for (channel, row) in rows.chunks_exact(row.max(1)).enumerate() {
                        let (bias, plane) = (bias.map_or(0.0, |bias| bias[channel]), out.plane(0, channel));
                        match domain {
                            Domain::Positions => {
                                let row = &row[image * plane.len()..];
                                plane.iter_mut().zip(row).for_each(|(to, value)| *to = value + bias);
                            }
                            Domain::Winograd => tiling.join(image, row, SIDE * padded, bias, plane),
                        }
                    }
                },
            );
        });
    });
}

/// The products of some channels out.
struct Products<'a> {
    squares: &'a [f32],
    layout: Layout,
    weights: &'a Weights,
    first: usize,
    rows: usize,
    /// Blocks of channels in.
    terms: usize,
}

impl Products<'_> {
    /// Numbers of one point, and a line of the cache between points as in [`Layout`].
    fn of_point(&self) -> usize {
        self.rows * self.layout.padded() + SQUARE
    }

    /// Numbers of all points.
    fn len(&self) -> usize {
        self.layout.points * self.of_point()
    }

    /// At one point, [row][column].
    #[inline(always)]
    fn compute<S: Simd>(&self, simd: S, point: usize, out: &mut [f32]) {
        let Self { squares, layout, weights, first, rows, terms } = *self;
        for block in 0..layout.blocks {
            let product = Product {
                runs: terms,
                a: &squares[point * layout.of_point() + block * AREA..],
                a_step: layout.of_block(),
                b: &weights.values[first * weights.row + point * weights.terms..],
                b_row: weights.row,
                b_step: SQUARE,
                out: &mut out[block * SQUARE..],
                out_row: layout.padded(),
                rows,
                add: false,
            };
            product.compute(simd);
        }
    }
}

/// The products as they are: the output at each position.
struct PositionsTask<'a> {
    products: Products<'a>,
    out: &'a mut [f32],
}

impl WithSimd for PositionsTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.products.compute(simd, 0, self.out);
    }
}

/// The products at all points, turned to tiles of the output.
struct TilesTask<'a> {
    products: Products<'a>,
    /// Memory for the products at all points.
    spare: &'a mut [f32],
    out: &'a mut [f32],
}

impl WithSimd for TilesTask<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { products, spare, out } = self;
        let (padded, of_point) = (products.layout.padded(), products.of_point());
        for (point, out) in spare.chunks_exact_mut(of_point).enumerate() {
            products.compute(simd, point, out);
        }
        let spare = &*spare;
        let mut half = [[simd.splat_f32s(0.0); SIDE]; 6];
        let mut tiles = [[simd.splat_f32s(0.0); SIDE]; SIDE];
        for (channel, quads) in out.chunks_exact_mut(SIDE * SIDE * padded).enumerate() {
            for tile in (0..padded).step_by(S::F32_LANES) {
                let first = channel * padded + tile;
                in_two_dimensions::<transforms::Output, S, 6, 4>(
                    simd,
                    &mut half,
                    #[inline(always)]
                    |y| {
                        let mut row = [simd.splat_f32s(0.0); 6];
                        for (x, value) in row.iter_mut().enumerate() {
                            *value = S::as_simd_f32s(&spare[(6 * y + x) * of_point + first..][..S::F32_LANES]).0[0];
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
        let points = Domain::of(&geometry).points();
        let rows = geometry.channels_in.div_ceil(SQUARE) * points * geometry.channels_out;
        Self { geometry, sums: Buffer::new(rows * SQUARE), bias: Buffer::zeros(geometry.channels_out), begun: false }
    }

    /// Adds what `images` images of `input` and the output's gradient [image, channel_out, height, width] give.
    pub(crate) fn add(&mut self, images: usize, input: &Input<'_>, grad: &[f32], threads: usize) {
        let Geometry { channels_in, channels_out, .. } = self.geometry;
        let (domain, tiling) = (Domain::of(&self.geometry), tiling(&self.geometry, images));
        let add = std::mem::replace(&mut self.begun, true);
        let layout = Layout::new(domain, &tiling);
        let (of_point, of_block) = (layout.of_point(), layout.of_block());
        let (blocks_in, blocks_out) = (channels_in.div_ceil(SQUARE), channels_out.div_ceil(SQUARE));
        cpu::with_scratch((blocks_in + blocks_out) * of_block, |scratch| {
            let (squares, grad_squares) = scratch.split_at_mut(blocks_in * of_block);
            to_squares((domain, &tiling), input, channels_in, Way::InputTurned, squares, &mut [], threads);
            let grad = Input::plain(grad, channels_out, self.geometry.plane());
            to_squares((domain, &tiling), &grad, channels_out, Way::Gradient, grad_squares, &mut self.bias, threads);
            let (squares, grad_squares) = (&*squares, &*grad_squares);
            let tasks = self.sums.par_chunks_exact_mut((channels_out * SQUARE).max(1)).enumerate();
            each(threads, tasks, |(i, sums)| {
                let (block_in, point) = (i / layout.points, i % layout.points);
                for (block_out, sums) in sums.chunks_mut(AREA).enumerate() {
                    let product = Product {
                        runs: layout.blocks,
                        a: &squares[block_in * of_block + point * of_point..],
                        a_step: AREA,
                        b: &grad_squares[block_out * of_block + point * of_point..],
                        b_row: SQUARE,
                        b_step: AREA,
                        rows: sums.len() / SQUARE,
                        out: sums,
                        out_row: SQUARE,
                        add,
                    };
                    Arch::new().dispatch(product);
                }
            });
        });
    }

    /// The gradients of weight [channel_out, channel_in, k, k] and bias `[channel_out]`, from the sums of all threads.
    pub(crate) fn finish(geometry: &Geometry, all: &[Self]) -> (Buffer, Buffer) {
        let (Geometry { channels_in, channels_out, .. }, domain) = (*geometry, Domain::of(geometry));
        let of_row = channels_in * domain.taps();
        let begun: Vec<&[f32]> = all.iter().filter(|sums| sums.begun).map(|sums| &sums.sums[..]).collect();
        let mut weight = Buffer::zeros(channels_out * of_row);
        weight.par_chunks_exact_mut(of_row.max(1)).enumerate().for_each(|(channel, weight)| match domain {
            Domain::Winograd => {
                Arch::new().dispatch(FilterGradientTask { sums: &begun, channel, channels_out, weight });
            }
            Domain::Positions => {
                for (block, weight) in weight.chunks_mut(SQUARE).enumerate() {
                    for sums in &begun {
                        let sums = &sums[(block * channels_out + channel) * SQUARE..];
                        weight.iter_mut().zip(sums).for_each(|(weight, sum)| *weight += sum);
                    }
                }
            }
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
                            let at = ((block * Domain::Winograd.points() + 6 * y + x) * channels_out + channel)
                                * SQUARE
                                + lane;
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
