//! Matrix products on AMX: both factors are split into three bf16 parts and packed as tiles. The result is as exact as
//! f32.
//!
//! Both factors are packed whole, in blocks of 32 rows or columns by 32 terms: [part][block of rows or columns][step].

use crate::cpu::amx::bf16_parts::{adjacent_pairs, interleave_rows};
use crate::cpu::amx::{self, BLOCK, DEPTH, Factor, Initial, OutputBlock, StepOffsets, TILE, TileUnit};
use crate::cpu::gemm::operands::{Strides, WriteMode};
use crate::cpu::scratch::with_bf16_pairs;
use crate::cpu::transpose_16x16::transpose_16x16;
use crate::cpu::vectorize::vectorize;

/// The number of bf16 parts of each number.
const PARTS: usize = 3;

/// The number of pairs of bf16 in one part of a block of 32 rows or columns at one step.
const BLOCK_PAIRS: usize = BLOCK * TILE;

/// The number of multiplications below which packing, and padding to whole blocks, cost more time than AMX saves.
const WORTH_PACKING: usize = BLOCK * BLOCK * DEPTH;

/// Whether AMX can compute this product, which requires a row-major output, and is faster than the `gemm` crate.
pub(crate) fn supports((m, n, k): (usize, usize, usize), out: Strides, a: Strides, b: Strides) -> bool {
    let either = |strides: Strides| strides.rows == 1 || strides.columns == 1;
    m.min(n).min(k) >= TILE
        && m * n * k >= WORTH_PACKING
        && out.columns == 1
        && either(a)
        && either(b)
        && amx::available()
}

/// `out (m × n) = a (m × k) · b (k × n)`, or the product added to `out`, on this thread. All slices span their
/// matrices.
pub(crate) fn gemm(
    (m, n, k): (usize, usize, usize),
    (out, out_row): (&mut [f32], usize),
    write_mode: WriteMode,
    (a, a_strides): (&[f32], Strides),
    (b, b_strides): (&[f32], Strides),
) {
    let Some(tiles) = TileUnit::configure() else { unreachable!("`supports` has returned true") };
    let (steps, row_blocks, column_blocks) = (k.div_ceil(DEPTH), m.div_ceil(BLOCK), n.div_ceil(BLOCK));
    let (a_pairs, b_pairs) = (row_blocks * steps * BLOCK_PAIRS, column_blocks * steps * BLOCK_PAIRS);
    let b_offsets = StepOffsets::new((0..steps).map(|step| step * BLOCK_PAIRS), size_of::<u32>());
    with_bf16_pairs(PARTS * (a_pairs + b_pairs), |packed| {
        let (a_all, b_all) = packed.split_at_mut(PARTS * a_pairs);
        vectorize(
            #[inline(always)]
            |_| {
                for block in 0..row_blocks {
                    for step in 0..steps {
                        let at = (block * steps + step) * BLOCK_PAIRS;
                        pack_rows((a, a_strides), (m, k), block * BLOCK, step * DEPTH, a_all, a_pairs, at);
                    }
                }
                for block in 0..column_blocks {
                    for step in 0..steps {
                        let at = (block * steps + step) * BLOCK_PAIRS;
                        pack_columns((b, b_strides), (k, n), step * DEPTH, block * BLOCK, b_all, b_pairs, at);
                    }
                }
            },
        );
        let a_parts = std::array::from_fn(|part| &a_all[part * a_pairs..(part + 1) * a_pairs]);
        let b_parts = std::array::from_fn(|part| &b_all[part * b_pairs..(part + 1) * b_pairs]);
        for column in 0..column_blocks {
            let first = column * steps * BLOCK_PAIRS;
            let b = Factor::<_, PARTS> { parts: b_parts, first, tile_stride: TILE, row_stride: BLOCK };
            for row in 0..row_blocks {
                let first = row * steps * BLOCK_PAIRS;
                let a = Factor { parts: a_parts, first, tile_stride: TILE * TILE, row_stride: TILE };
                let at = row * BLOCK * out_row + column * BLOCK;
                let (rows, columns) = (BLOCK.min(m - row * BLOCK), BLOCK.min(n - column * BLOCK));
                if rows == BLOCK && columns == BLOCK {
                    let initial = if matches!(write_mode, WriteMode::Add) { Initial::Output } else { Initial::Zero };
                    let to = OutputBlock { values: &mut *out, first: at, tile_stride: TILE, row_stride: out_row };
                    tiles.multiply(a, BLOCK_PAIRS, b, &b_offsets, to, initial);
                    continue;
                }
                let mut edge = [0.0; BLOCK * BLOCK];
                let to = OutputBlock { values: &mut edge, first: 0, tile_stride: TILE, row_stride: BLOCK };
                tiles.multiply(a, BLOCK_PAIRS, b, &b_offsets, to, Initial::Zero);
                for (i, edge) in edge.chunks_exact(BLOCK).take(rows).enumerate() {
                    let to = &mut out[at + i * out_row..][..columns];
                    match write_mode {
                        WriteMode::Replace => to.copy_from_slice(&edge[..columns]),
                        WriteMode::Add => to.iter_mut().zip(edge).for_each(|(to, value)| *to += value),
                    }
                }
            }
        }
    });
}

/// `DEPTH` adjacent elements of a row or column of a matrix, of which `len` exist; the others are zeros.
#[inline(always)]
fn line(values: &[f32], start: usize, len: usize) -> [f32; DEPTH] {
    let mut line = [0.0; DEPTH];
    if len >= DEPTH {
        line.copy_from_slice(&values[start..start + DEPTH]);
    } else {
        line[..len].copy_from_slice(&values[start..start + len]);
    }
    line
}

/// Packs 32 rows and 32 columns of `a`, from (row, column) on, as two tiles: a row of a tile is 16 pairs of adjacent
/// terms of a row of `a`.
#[inline(always)]
fn pack_rows(
    (a, strides): (&[f32], Strides),
    (m, k): (usize, usize),
    row: usize,
    column: usize,
    to: &mut [u32],
    part_pairs: usize,
    at: usize,
) {
    if strides.columns == 1 {
        for r in 0..BLOCK {
            let len = if row + r < m { k - column } else { 0 };
            let start = (row + r).min(m - 1) * strides.rows + column;
            let line = line(a, start, len);
            for (part, pairs) in adjacent_pairs::<PARTS>(&line).iter().enumerate() {
                to[part * part_pairs + at + r * TILE..][..TILE].copy_from_slice(pairs);
            }
        }
    } else {
        transposed_pairs((a, strides.columns), (k, m), (column, row), |part, half, row, pairs| {
            to[part * part_pairs + at + (half * TILE + row) * TILE..][..TILE].copy_from_slice(pairs);
        });
    }
}

/// Packs 32 rows and 32 columns of `b`, from (row, column) on, as two tiles: a row of a tile is the pairs of two terms
/// of 16 columns of `b`.
#[inline(always)]
fn pack_columns(
    (b, strides): (&[f32], Strides),
    (k, n): (usize, usize),
    row: usize,
    column: usize,
    to: &mut [u32],
    part_pairs: usize,
    at: usize,
) {
    if strides.columns == 1 {
        for r in 0..TILE {
            let source = |r: usize| {
                let len = if row + r < k { n - column } else { 0 };
                line(b, (row + r).min(k - 1) * strides.rows + column, len)
            };
            let (first, second) = (source(2 * r), source(2 * r + 1));
            let mut pairs = [[0; BLOCK]; PARTS];
            interleave_rows(&first, Some(&second), pairs.each_mut().map(|part| &mut part[..]));
            for (part, pairs) in pairs.iter().enumerate() {
                to[part * part_pairs + at + r * BLOCK..][..BLOCK].copy_from_slice(pairs);
            }
        }
    } else {
        // `b` is column-major: what is adjacent in memory is a column.
        let lines = (b, strides.columns);
        for half in 0..2 {
            let mut rows = [[[0; TILE]; TILE]; PARTS];
            for i in 0..TILE {
                let line_at = column + half * TILE + i;
                let len = if line_at < n { k - row } else { 0 };
                let line = line(lines.0, line_at.min(n - 1) * lines.1 + row, len);
                let pairs = adjacent_pairs::<PARTS>(&line);
                rows.iter_mut().zip(pairs).for_each(|(rows, pairs)| rows[i] = pairs);
            }
            for (part, rows) in rows.into_iter().enumerate() {
                for (pair, columns) in transpose_16x16(rows).iter().enumerate() {
                    to[part * part_pairs + at + pair * BLOCK + half * TILE..][..TILE].copy_from_slice(columns);
                }
            }
        }
    }
}

/// Transposes 32 × 32 elements while it pairs them: forms the pairs of adjacent lines of memory, [pair of
/// lines][element], and calls `take(part, half, element, pairs)` with the 16 pairs of each element, for 32 elements in
/// two halves.
#[inline(always)]
fn transposed_pairs(
    (values, stride): (&[f32], usize),
    (lines, elements): (usize, usize),
    (first_line, first): (usize, usize),
    mut take: impl FnMut(usize, usize, usize, &[u32; TILE]),
) {
    let mut pairs = [[[0; BLOCK]; TILE]; PARTS];
    for pair in 0..TILE {
        let source = |i: usize| {
            let len = if first_line + i < lines { elements - first } else { 0 };
            line(values, (first_line + i).min(lines - 1) * stride + first, len)
        };
        let (one, two) = (source(2 * pair), source(2 * pair + 1));
        interleave_rows(&one, Some(&two), pairs.each_mut().map(|part| &mut part[pair][..]));
    }
    for (part, pairs) in pairs.iter().enumerate() {
        for half in 0..2 {
            let square = std::array::from_fn(|i| std::array::from_fn(|j| pairs[i][half * TILE + j]));
            for (element, pairs) in transpose_16x16(square).iter().enumerate() {
                take(part, half, element, pairs);
            }
        }
    }
}
