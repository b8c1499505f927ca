//! Products of squares: sixteen terms of each sum at a time.
//!
//! One factor is squares of 16 terms by 16 columns, which lie as vectors; the other is rows, whose terms lie side by side. The
//! sums of a block of rows stay in registers from the first term to the last.

use pulp::{Simd, WithSimd};

/// Rows and columns of a square.
pub(crate) const SQUARE: usize = 16;
/// Numbers of a square.
pub(crate) const AREA: usize = SQUARE * SQUARE;

/// `out[row][column] (+)= Σ_run Σ_k b[run][row][k] a[run][k][column]`, for 16 columns.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// How many squares there are.
    pub(crate) runs: usize,
    /// Squares, `a_step` from one to the next.
    pub(crate) a: &'a [f32],
    pub(crate) a_step: usize,
    /// Rows of 16 terms, `b_row` from row to row and `b_step` from run to run.
    pub(crate) b: &'a [f32],
    pub(crate) b_row: usize,
    pub(crate) b_step: usize,
    /// Rows of 16 sums, `out_row` from row to row.
    pub(crate) out: &'a mut [f32],
    pub(crate) out_row: usize,
    pub(crate) rows: usize,
    /// Whether the sums are added to what `out` holds.
    pub(crate) add: bool,
}

impl Product<'_> {
    /// Computes it with the vectors of that kind.
    #[inline(always)]
    pub(crate) fn compute<S: Simd>(mut self, simd: S) {
        match S::F32_LANES {
            16 => self.all_rows::<S, 1, 12>(simd),
            8 => self.all_rows::<S, 2, 6>(simd),
            4 => self.all_rows::<S, 4, 4>(simd),
            _ => self.all_rows::<S, 16, 1>(simd),
        }
    }

    /// Blocks of `N` rows, each of `V` vectors, then what is left in smaller ones.
    #[inline(always)]
    fn all_rows<S: Simd, const V: usize, const N: usize>(&mut self, simd: S) {
        let mut row = 0;
        while row + N <= self.rows {
            self.block::<S, V, N>(simd, row);
            row += N;
        }
        if N > 8 && row + 8 <= self.rows {
            self.block::<S, V, 8>(simd, row);
            row += 8;
        }
        if N > 4 && row + 4 <= self.rows {
            self.block::<S, V, 4>(simd, row);
            row += 4;
        }
        if N > 2 && row + 2 <= self.rows {
            self.block::<S, V, 2>(simd, row);
            row += 2;
        }
        while row < self.rows {
            self.block::<S, V, 1>(simd, row);
            row += 1;
        }
    }

    #[inline(always)]
    fn block<S: Simd, const V: usize, const N: usize>(&mut self, simd: S, row: usize) {
        let mut sums = [[simd.splat_f32s(0.0); V]; N];
        if self.add {
            for (i, sums) in sums.iter_mut().enumerate() {
                let at = (row + i) * self.out_row;
                sums.copy_from_slice(&S::as_simd_f32s(&self.out[at..at + SQUARE]).0[..V]);
            }
        }
        for run in 0..self.runs {
            let a: &[f32; AREA] = square(&self.a[run * self.a_step..]);
            let a = &S::as_simd_f32s(a).0[..SQUARE * V];
            let first = run * self.b_step + row * self.b_row;
            let mut rows = [&[0.0; SQUARE]; N];
            for (i, rows) in rows.iter_mut().enumerate() {
                *rows = square(&self.b[first + i * self.b_row..]);
            }
            for k in 0..SQUARE {
                for (sums, row) in sums.iter_mut().zip(&rows) {
                    let factor = simd.splat_f32s(row[k]);
                    for (v, sum) in sums.iter_mut().enumerate() {
                        *sum = simd.mul_add_e_f32s(a[k * V + v], factor, *sum);
                    }
                }
            }
        }
        for (i, sums) in sums.iter().enumerate() {
            let at = (row + i) * self.out_row;
            S::as_mut_simd_f32s(&mut self.out[at..at + SQUARE]).0[..V].copy_from_slice(sums);
        }
    }
}

/// The first `N` elements.
#[inline(always)]
fn square<const N: usize>(values: &[f32]) -> &[f32; N] {
    values[..N].try_into().expect("a slice of N elements")
}

impl WithSimd for Product<'_> {
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
    fn sums_meet_a_plain_loop() {
        for (rows, runs, add) in [(1, 1, false), (6, 2, false), (23, 3, true), (12, 4, true), (17, 1, false)] {
            let value = |i: usize| ((i * 7919) % 2003) as f32 / 1000.0 - 1.0;
            let a: Vec<f32> = (0..runs * AREA).map(value).collect();
            let b: Vec<f32> = (0..rows * runs * SQUARE).map(|i| value(i + 5)).collect();
            let (b_row, out_row) = (runs * SQUARE, SQUARE + 3);
            let check = |run: &dyn Fn(Product<'_>)| {
                let mut out = vec![1.0; rows * out_row];
                run(Product {
                    runs,
                    a: &a,
                    a_step: AREA,
                    b: &b,
                    b_row,
                    b_step: SQUARE,
                    out: &mut out,
                    out_row,
                    rows,
                    add,
                });
                for (row, column) in (0..rows * SQUARE).map(|i| (i / SQUARE, i % SQUARE)) {
                    let sum: f64 = (0..runs * SQUARE)
                        .map(|k| f64::from(b[row * b_row + k]) * f64::from(a[k * SQUARE + column]))
                        .sum();
                    let expected = sum + f64::from(u8::from(add));
                    assert!((f64::from(out[row * out_row + column]) - expected).abs() < 1e-4, "{row}, {column}");
                }
            };
            check(&|product| pulp::Arch::new().dispatch(product));
            check(&|product| product.compute(pulp::Scalar::new()));
        }
    }
}
