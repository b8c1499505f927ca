//! The operands of a product of tiles: where they are in memory.

/// The number of rows of a tile, and of f32 or pairs of bf16 in a row.
pub(crate) const TILE: usize = 16;

/// The number of rows and columns of the output block that one call computes: 2 × 2 tiles.
pub(crate) const BLOCK: usize = 2 * TILE;

/// The number of terms that one step adds to each sum.
pub(crate) const DEPTH: usize = 2 * TILE;

/// An element type of packed factors: a pair of bf16, or a single one.
pub(crate) trait Bf16Storage: Copy {
    /// The bf16 number `index` of a slice, as its bits.
    fn bf16(slice: &[Self], index: usize) -> u16;
}

impl Bf16Storage for u16 {
    fn bf16(slice: &[Self], index: usize) -> u16 {
        slice[index]
    }
}

impl Bf16Storage for u32 {
    fn bf16(slice: &[Self], index: usize) -> u16 {
        (slice[index / 2] >> (16 * (index % 2))) as u16
    }
}

/// A factor of a product, split into parts, and where its tiles are.
///
/// Row r of tile h (0 or 1) at step s starts at element `first + h · tile_stride + r · row_stride + offset(s)`.
/// Elements are pairs of bf16, or single bf16 where a pair may start at any number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Factor<'a, T, const PARTS: usize> {
    /// The numbers rounded to bf16, then the remainders rounded to bf16, and so on.
    pub(crate) parts: [&'a [T]; PARTS],
    pub(crate) first: usize,
    pub(crate) tile_stride: usize,
    pub(crate) row_stride: usize,
}

impl<T, const PARTS: usize> Factor<'_, T, PARTS> {
    /// The position of the first tile in bytes, after a check that all tiles lie within the slices up to `furthest`
    /// bytes after the first step.
    #[inline(always)]
    pub(crate) fn checked(&self, furthest: usize) -> usize {
        let size = size_of::<T>();
        let last_row = (self.first + self.tile_stride + (TILE - 1) * self.row_stride) * size;
        let end = last_row + furthest + 4 * TILE;
        assert!(self.parts.iter().all(|part| end <= size_of_val(*part)), "a tile ends outside of its factor");
        self.first * size
    }
}

/// The offsets of a factor's tiles at each step, and the largest of them.
#[derive(Debug, Clone)]
pub(crate) struct StepOffsets {
    bytes: Vec<usize>,
    largest: usize,
}

impl StepOffsets {
    /// Offsets that are counted in elements of `size` bytes.
    pub(crate) fn new(offsets: impl IntoIterator<Item = usize>, size: usize) -> Self {
        let bytes: Vec<usize> = offsets.into_iter().map(|offset| offset * size).collect();
        let largest = bytes.iter().copied().max().unwrap_or(0);
        Self { bytes, largest }
    }

    /// The number of steps.
    pub(crate) fn steps(&self) -> usize {
        self.bytes.len()
    }

    /// The offset of each step in bytes.
    #[inline(always)]
    pub(crate) fn bytes(&self) -> &[usize] {
        &self.bytes
    }

    /// The largest offset in bytes.
    #[inline(always)]
    pub(crate) fn largest(&self) -> usize {
        self.largest
    }
}

/// The 2 × 2 tiles of the output: row r, column c is at `first + r · row_stride + c`, and the second column of tiles
/// starts `tile_stride` elements after the first.
#[derive(Debug)]
pub(crate) struct OutputBlock<'a> {
    pub(crate) values: &'a mut [f32],
    pub(crate) first: usize,
    pub(crate) tile_stride: usize,
    pub(crate) row_stride: usize,
}

/// The initial values of the sums.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Initial<'a> {
    /// Zeros.
    Zero,
    /// The contents of the output.
    Output,
    /// A value for each row, such as a bias: `BLOCK` rows of `TILE` copies.
    Rows(&'a [f32; BLOCK * TILE]),
}
