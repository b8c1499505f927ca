//! The micro-kernel of small matrix products: a few rows times a panel of sixteen columns.
//!
//! In the terms of BLIS (Van Zee & van de Geijn 2015), the right factor is packed into panels of `NR` = 16 columns, and
//! the products of `MR` rows with one panel form a register tile that stays in vector registers from the first term of
//! its sums to the last. `MR` is as large as the vector registers of the machine allow: 12 rows with AVX-512, 6 with
//! AVX2, 4 with vectors of four f32.
//!
//! Both factors are read in blocks of sixteen terms. A block of the panel is [16 terms][16 columns], row by row, so
//! that a term of all columns is one or a few vectors. The left factor supplies one number for each row and term, which
//! is broadcast.

use pulp::{Simd, WithSimd};

/// The number of columns of a panel, and of terms of a block.
pub(crate) const PANEL: usize = 16;
/// The number of elements of a block of a panel.
pub(crate) const PANEL_BLOCK: usize = PANEL * PANEL;

/// The layout of the left factor within a block of sixteen terms.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LeftLayout {
    /// The terms of a row are adjacent. The next row starts this many elements later.
    RowMajor(usize),
    /// [16 terms][16 rows]: the rows of a term are adjacent. There are at most sixteen rows.
    ColumnMajor,
}

/// `out[row][column] = Σ_block Σ_k left[block][row][k] · right[block][k][column]` for sixteen columns, or this sum
/// added to `out`.
#[derive(Debug)]
pub(crate) struct PanelProduct<'a> {
    /// The number of blocks of sixteen terms.
    pub(crate) blocks: usize,
    /// The panel: blocks [16 terms][16 columns].
    pub(crate) right: &'a [f32],
    /// The distance from one block of the panel to the next.
    pub(crate) right_step: usize,
    /// The rows.
    pub(crate) left: &'a [f32],
    pub(crate) left_layout: LeftLayout,
    /// The distance from one block of the left factor to the next.
    pub(crate) left_step: usize,
    /// Rows of sixteen sums.
    pub(crate) out: &'a mut [f32],
    /// The distance from one row of `out` to the next.
    pub(crate) out_stride: usize,
    pub(crate) rows: usize,
    /// True if the sums are added to the contents of `out`, false if they replace them.
    pub(crate) accumulate: bool,
}

impl PanelProduct<'_> {
    /// Computes the product with the vectors of `S`.
    #[inline(always)]
    pub(crate) fn compute<S: Simd>(mut self, simd: S) {
        match S::F32_LANES {
            16 => self.all_rows::<S, 1, 12>(simd),
            8 => self.all_rows::<S, 2, 6>(simd),
            4 => self.all_rows::<S, 4, 4>(simd),
            _ => self.all_rows::<S, 16, 1>(simd),
        }
    }

    /// One block of terms of `MR` rows, from `row` on.
    #[inline(always)]
    fn left_block<const MR: usize>(&self, block: usize, row: usize) -> LeftBlock<'_, MR> {
        let left = &self.left[block * self.left_step..];
        match self.left_layout {
            LeftLayout::ColumnMajor => LeftBlock::ColumnMajor(first_elements(left), row),
            LeftLayout::RowMajor(stride) => {
                let mut rows = [&[0.0; PANEL]; MR];
                for (i, rows) in rows.iter_mut().enumerate() {
                    *rows = first_elements(&left[(row + i) * stride..]);
                }
                LeftBlock::RowMajor(rows)
            }
        }
    }

    /// Register tiles of `MR` rows of `V` vectors each; the rows that remain are computed in smaller tiles.
    #[inline(always)]
    fn all_rows<S: Simd, const V: usize, const MR: usize>(&mut self, simd: S) {
        let mut row = 0;
        while row + MR <= self.rows {
            self.register_tile::<S, V, MR>(simd, row);
            row += MR;
        }
        if MR > 8 && row + 8 <= self.rows {
            self.register_tile::<S, V, 8>(simd, row);
            row += 8;
        }
        if MR > 4 && row + 4 <= self.rows {
            self.register_tile::<S, V, 4>(simd, row);
            row += 4;
        }
        if MR > 2 && row + 2 <= self.rows {
            self.register_tile::<S, V, 2>(simd, row);
            row += 2;
        }
        while row < self.rows {
            self.register_tile::<S, V, 1>(simd, row);
            row += 1;
        }
    }

    #[inline(always)]
    fn register_tile<S: Simd, const V: usize, const MR: usize>(&mut self, simd: S, row: usize) {
        let mut sums = [[simd.splat_f32s(0.0); V]; MR];
        if self.accumulate {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = (row + i) * self.out_stride;
                sums.copy_from_slice(&S::as_simd_f32s(&self.out[at..at + PANEL]).0[..V]);
            }
        }
        for block in 0..self.blocks {
            let right: &[f32; PANEL_BLOCK] = first_elements(&self.right[block * self.right_step..]);
            let right = &S::as_simd_f32s(right).0[..PANEL * V];
            match self.left_block::<MR>(block, row) {
                LeftBlock::RowMajor(rows) => {
                    for k in 0..PANEL {
                        for (sums, row) in sums.iter_mut().zip(&rows) {
                            multiply_add::<S, V>(simd, sums, &right[k * V..], row[k]);
                        }
                    }
                }
                LeftBlock::ColumnMajor(left, row) => {
                    for (k, terms) in left.chunks_exact(PANEL).enumerate() {
                        for (sums, term) in sums.iter_mut().zip(&terms[row..row + MR]) {
                            multiply_add::<S, V>(simd, sums, &right[k * V..], *term);
                        }
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let at = (row + i) * self.out_stride;
            S::as_mut_simd_f32s(&mut self.out[at..at + PANEL]).0[..V].copy_from_slice(sums);
        }
    }
}

/// Sixteen terms of `MR` rows of the left factor.
enum LeftBlock<'a, const MR: usize> {
    /// The terms of each row.
    RowMajor([&'a [f32; PANEL]; MR]),
    /// [16 terms][16 rows], and the first of the `MR` rows.
    ColumnMajor(&'a [f32; PANEL_BLOCK], usize),
}

/// `sums += right · factor`
#[inline(always)]
fn multiply_add<S: Simd, const V: usize>(simd: S, sums: &mut [S::f32s; V], right: &[S::f32s], factor: f32) {
    let factor = simd.splat_f32s(factor);
    for (sum, right) in sums.iter_mut().zip(&right[..V]) {
        *sum = simd.mul_add_e_f32s(*right, factor, *sum);
    }
}

/// The first `N` elements as an array.
#[inline(always)]
fn first_elements<const N: usize>(values: &[f32]) -> &[f32; N] {
    values[..N].try_into().expect("a slice of N elements")
}

impl WithSimd for PanelProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        self.compute(simd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_equal_those_of_a_plain_loop() {
        for (rows, blocks, accumulate) in [(1, 1, false), (6, 2, false), (23, 3, true), (12, 4, true), (17, 1, false)] {
            let value = |i: usize| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0;
            let right: Vec<f32> = (0..blocks * PANEL_BLOCK).map(value).collect();
            let left: Vec<f32> = (0..rows * blocks * PANEL).map(|i| value(i + 5)).collect();
            let (left_stride, out_stride) = (blocks * PANEL, PANEL + 3);
            let transposed: Vec<f32> = (0..blocks * PANEL_BLOCK)
                .map(|i| left.get(i % PANEL * left_stride + i / PANEL).copied().unwrap_or(f32::NAN))
                .collect();
            let check = |column_major: bool, run: &dyn Fn(PanelProduct<'_>)| {
                let mut out = vec![1.0; rows * out_stride];
                let (factor, left_layout, left_step) = if column_major {
                    (&transposed, LeftLayout::ColumnMajor, PANEL_BLOCK)
                } else {
                    (&left, LeftLayout::RowMajor(left_stride), PANEL)
                };
                run(PanelProduct {
                    blocks,
                    right: &right,
                    right_step: PANEL_BLOCK,
                    left: factor,
                    left_layout,
                    left_step,
                    out: &mut out,
                    out_stride,
                    rows,
                    accumulate,
                });
                for (row, column) in (0..rows * PANEL).map(|i| (i / PANEL, i % PANEL)) {
                    let sum: f64 = (0..blocks * PANEL)
                        .map(|k| f64::from(left[row * left_stride + k]) * f64::from(right[k * PANEL + column]))
                        .sum();
                    let expected = sum + f64::from(u8::from(accumulate));
                    assert!((f64::from(out[row * out_stride + column]) - expected).abs() < 1e-4, "{row}, {column}");
                }
            };
            for column_major in [false, true] {
                if !column_major || rows <= PANEL {
                    check(column_major, &|product| pulp::Arch::new().dispatch(product));
                    check(column_major, &|product| product.compute(pulp::Scalar::new()));
                }
            }
        }
    }
}
