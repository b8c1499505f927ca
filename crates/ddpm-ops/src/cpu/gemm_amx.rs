//! Matrix products on the matrix unit: both factors are packed as tiles in three parts, as exact as f32.

use crate::cpu;
use crate::cpu::amx::{self, BLOCK, DEPTH, Factor, Offsets, Onto, Product, TILE, Tiles};
use crate::cpu::gemm::{Into, Strides};
use crate::cpu::split::{neighbours, pair_rows, transpose};
use crate::cpu::vectorise::vectorise;

const PARTS: usize = 3;

/// Words of one part of a block of 32 rows or columns at one step.
const BLOCK_WORDS: usize = BLOCK * TILE;

/// Multiplications below which the padding to whole blocks and the packing cost more than they save.
const WORTH_PACKING: usize = BLOCK * BLOCK * DEPTH;

/// Whether a product is worth packing, and has its output in rows.
pub(crate) fn takes((m, n, k): (usize, usize, usize), out: Strides, a: Strides, b: Strides) -> bool {
    let either = |strides: Strides| strides.rows == 1 || strides.columns == 1;
    m.min(n).min(k) >= TILE
        && m * n * k >= WORTH_PACKING
        && out.columns == 1
        && either(a)
        && either(b)
        && amx::available()
}

/// `out (m × n) = a (m × k) · b (k × n)`, or added to it, on this thread. All slices span their matrices.
pub(crate) fn gemm(
    (m, n, k): (usize, usize, usize),
    (out, out_row): (&mut [f32], usize),
    into: Into,
    (a, a_strides): (&[f32], Strides),
    (b, b_strides): (&[f32], Strides),
) {
    let Some(tiles) = Tiles::configure() else { unreachable!("`takes` was asked first") };
    let (steps, row_blocks, column_blocks) = (k.div_ceil(DEPTH), m.div_ceil(BLOCK), n.div_ceil(BLOCK));
    let (a_words, b_words) = (row_blocks * steps * BLOCK_WORDS, column_blocks * steps * BLOCK_WORDS);
    let b_offsets = Offsets::new((0..steps).map(|step| step * BLOCK_WORDS), size_of::<u32>());
    cpu::with_words(PARTS * (a_words + b_words), |words| {
        let (a_all, b_all) = words.split_at_mut(PARTS * a_words);
        vectorise(
            #[inline(always)]
            |_| {
                for block in 0..row_blocks {
                    for step in 0..steps {
                        let at = (block * steps + step) * BLOCK_WORDS;
                        pack_rows((a, a_strides), (m, k), block * BLOCK, step * DEPTH, a_all, a_words, at);
                    }
                }
                for block in 0..column_blocks {
                    for step in 0..steps {
                        let at = (block * steps + step) * BLOCK_WORDS;
                        pack_columns((b, b_strides), (k, n), step * DEPTH, block * BLOCK, b_all, b_words, at);
                    }
                }
            },
        );
        let a_parts = std::array::from_fn(|part| &a_all[part * a_words..(part + 1) * a_words]);
        let b_parts = std::array::from_fn(|part| &b_all[part * b_words..(part + 1) * b_words]);
        for column in 0..column_blocks {
            let first = column * steps * BLOCK_WORDS;
            let b = Factor::<_, PARTS> { parts: b_parts, first, next: TILE, row: BLOCK };
            for row in 0..row_blocks {
                let first = row * steps * BLOCK_WORDS;
                let a = Factor { parts: a_parts, first, next: TILE * TILE, row: TILE };
                let at = row * BLOCK * out_row + column * BLOCK;
                let (rows, columns) = (BLOCK.min(m - row * BLOCK), BLOCK.min(n - column * BLOCK));
                if rows == BLOCK && columns == BLOCK {
                    let onto = if matches!(into, Into::Add) { Onto::Output } else { Onto::Zero };
                    let to = Product { values: &mut *out, first: at, next: TILE, row: out_row };
                    tiles.multiply(a, BLOCK_WORDS, b, &b_offsets, to, onto);
                    continue;
                }
                let mut edge = [0.0; BLOCK * BLOCK];
                let to = Product { values: &mut edge, first: 0, next: TILE, row: BLOCK };
                tiles.multiply(a, BLOCK_WORDS, b, &b_offsets, to, Onto::Zero);
                for (i, edge) in edge.chunks_exact(BLOCK).take(rows).enumerate() {
                    let to = &mut out[at + i * out_row..][..columns];
                    match into {
                        Into::Replace => to.copy_from_slice(&edge[..columns]),
                        Into::Add => to.iter_mut().zip(edge).for_each(|(to, value)| *to += value),
                    }
                }
            }
        }
    });
}

/// 32 elements of a line of a matrix that lie side by side, zeros where it ends before.
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

/// The tiles of 32 rows and 32 columns of `a`, from (row, column): a row of a tile is 16 pairs of neighbours in a row of `a`.
#[inline(always)]
fn pack_rows(
    (a, strides): (&[f32], Strides),
    (m, k): (usize, usize),
    row: usize,
    column: usize,
    to: &mut [u32],
    part_words: usize,
    at: usize,
) {
    if strides.columns == 1 {
        for r in 0..BLOCK {
            let len = if row + r < m { k - column } else { 0 };
            let start = (row + r).min(m - 1) * strides.rows + column;
            let line = line(a, start, len);
            for (part, pairs) in neighbours::<PARTS>(&line).iter().enumerate() {
                to[part * part_words + at + r * TILE..][..TILE].copy_from_slice(pairs);
            }
        }
    } else {
        turned((a, strides.columns), (k, m), (column, row), |part, half, row, pairs| {
            to[part * part_words + at + (half * TILE + row) * TILE..][..TILE].copy_from_slice(pairs);
        });
    }
}

/// The tiles of 32 rows and 32 columns of `b`, from (row, column): a row of a tile is pairs of neighbours in a column.
#[inline(always)]
fn pack_columns(
    (b, strides): (&[f32], Strides),
    (k, n): (usize, usize),
    row: usize,
    column: usize,
    to: &mut [u32],
    part_words: usize,
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
            pair_rows(&first, Some(&second), pairs.each_mut().map(|part| &mut part[..]));
            for (part, pairs) in pairs.iter().enumerate() {
                to[part * part_words + at + r * BLOCK..][..BLOCK].copy_from_slice(pairs);
            }
        }
    } else {
        // Lines of memory are columns of `b`.
        let lines = (b, strides.columns);
        for half in 0..2 {
            let mut rows = [[[0; TILE]; TILE]; PARTS];
            for i in 0..TILE {
                let line_at = column + half * TILE + i;
                let len = if line_at < n { k - row } else { 0 };
                let line = line(lines.0, line_at.min(n - 1) * lines.1 + row, len);
                let pairs = neighbours::<PARTS>(&line);
                rows.iter_mut().zip(pairs).for_each(|(rows, pairs)| rows[i] = pairs);
            }
            for (part, rows) in rows.into_iter().enumerate() {
                for (pair, columns) in transpose(rows).iter().enumerate() {
                    to[part * part_words + at + pair * BLOCK + half * TILE..][..TILE].copy_from_slice(columns);
                }
            }
        }
    }
}

/// Pairs of neighbouring lines of memory, [line][element], turned so that each element's pairs lie side by side: calls
/// `take(part, half, element, pairs)` for 32 elements in two halves.
#[inline(always)]
fn turned(
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
        pair_rows(&one, Some(&two), pairs.each_mut().map(|part| &mut part[pair][..]));
    }
    for (part, pairs) in pairs.iter().enumerate() {
        for half in 0..2 {
            let square = std::array::from_fn(|i| std::array::from_fn(|j| pairs[i][half * TILE + j]));
            for (element, pairs) in transpose(square).iter().enumerate() {
                take(part, half, element, pairs);
            }
        }
    }
}
