//! Products of squares: sixteen terms of each sum at a time.
//!
//! One factor is squares of 16 terms by 16 columns, which lie as vectors; the other is rows, whose terms lie side by side. The
//! sums of a block of rows stay in registers from the first term to the last.

use pulp::{Simd, WithSimd};

/// Rows and columns of a square.
pub(crate) const SQUARE: usize = 16;
/// Numbers of a square.
pub(crate) const AREA: usize = SQUARE * SQUARE;

/// How a factor's rows lie.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Lies {
    /// The terms of a row side by side, so many numbers from row to row.
    InRows(usize),
    /// In squares of 16 terms by 16 rows, of which there is one.
    InColumns,
}

/// `out[row][column] (+)= Σ_run Σ_k b[run][row][k] a[run][k][column]`, for 16 columns.
#[derive(Debug)]
pub(crate) struct Product<'a> {
    /// How many squares there are.
    pub(crate) runs: usize,
    /// Squares, `a_step` from one to the next.
    pub(crate) a: &'a [f32],
    pub(crate) a_step: usize,
    /// The other factor, `b_step` from run to run.
    pub(crate) b: &'a [f32],
    pub(crate) b_lies: Lies,
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

    /// The terms of a block of rows in one run.
    #[inline(always)]
    fn factors<const N: usize>(&self, run: usize, row: usize) -> Factors<'_, N> {
        let b = &self.b[run * self.b_step..];
        match self.b_lies {
            Lies::InColumns => Factors::Columns(square(b), row),
            Lies::InRows(next) => {
                let mut rows = [&[0.0; SQUARE]; N];
                for (i, rows) in rows.iter_mut().enumerate() {
                    *rows = square(&b[(row + i) * next..]);
                }
                Factors::Rows(rows)
            }
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
            match self.factors::<N>(run, row) {
                Factors::Rows(rows) => {
                    for k in 0..SQUARE {
                        for (sums, row) in sums.iter_mut().zip(&rows) {
                            add::<S, V>(simd, sums, &a[k * V..], row[k]);
                        }
                    }
                }
                Factors::Columns(square, row) => {
                    for (k, terms) in square.chunks_exact(SQUARE).enumerate() {
                        for (sums, term) in sums.iter_mut().zip(&terms[row..row + N]) {
                            add::<S, V>(simd, sums, &a[k * V..], *term);
                        }
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

/// Terms of `N` rows.
enum Factors<'a, const N: usize> {
    Rows([&'a [f32; SQUARE]; N]),
    /// From that row of the square on.
    Columns(&'a [f32; AREA], usize),
}

/// `sums += a · factor`
#[inline(always)]
fn add<S: Simd, const V: usize>(simd: S, sums: &mut [S::f32s; V], a: &[S::f32s], factor: f32) {
    let factor = simd.splat_f32s(factor);
    for (sum, a) in sums.iter_mut().zip(&a[..V]) {
        *sum = simd.mul_add_e_f32s(*a, factor, *sum);
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
            let turned: Vec<f32> =
                (0..runs * AREA).map(|i| b.get(i % SQUARE * b_row + i / SQUARE).copied().unwrap_or(f32::NAN)).collect();
            let check = |in_columns: bool, run: &dyn Fn(Product<'_>)| {
                let mut out = vec![1.0; rows * out_row];
                let (factor, b_lies, b_step) =
                    if in_columns { (&turned, Lies::InColumns, AREA) } else { (&b, Lies::InRows(b_row), SQUARE) };
                run(Product {
                    runs,
                    a: &a,
                    a_step: AREA,
                    b: factor,
                    b_lies,
                    b_step,
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
            for in_columns in [false, true] {
                if !in_columns || rows <= SQUARE {
                    check(in_columns, &|product| pulp::Arch::new().dispatch(product));
                    check(in_columns, &|product| product.compute(pulp::Scalar::new()));
                }
            }
        }
    }
}
