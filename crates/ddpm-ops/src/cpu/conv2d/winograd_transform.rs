//! The transforms of F(4, 3): four outputs of a three-tap filter from six products (Winograd 1980; Lavin & Gray 2016).
//!
//! A correlation of polynomials is evaluated at six points, multiplied there, and interpolated. The points are 0, ±a, ±b and ∞
//! with a = 1/√2 and b = √2. DIFFERENCE: the usual points are ±1 and ±2; these, each other's inverses, keep all coefficients
//! within a factor of 6 of one another, and the error is less than half as large.
//!
//! Tiles of 4 × 4 outputs come from windows of 6 × 6 inputs: 36 products where there are 144 multiplications. What convolves with
//! them is `cpu/conv2d/winograd.rs`.
//!
//! With the notation of Lavin & Gray, y = Aᵀ [(G g) ∘ (Bᵀ d)]; the gradient of g is Gᵀ [(Bᵀ d) ∘ (A ∂y)]. In two dimensions
//! each matrix is applied to rows, then to columns.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::Simd;

/// Points of the transformed domain, in two dimensions.
pub(crate) const POINTS: usize = 36;

/// Rows and columns of a tile of the output.
pub(crate) const SIDE: usize = 4;

const A: f32 = FRAC_1_SQRT_2;
const B: f32 = SQRT_2;
const A2: f32 = 0.5;
const B2: f32 = 2.0;
/// a² + b²; a² b² is 1.
const SUM: f32 = 2.5;
/// Of the Lagrange polynomials at ±a and ±b: 2a² (a² − b²) and 2b² (b² − a²), inverted.
const LAGRANGE_A: f32 = -1.0 / 1.5;
const LAGRANGE_B: f32 = 1.0 / 6.0;

/// One of the five matrices, from vectors of `I` numbers to vectors of `O`.
pub(crate) trait Transform<const I: usize, const O: usize> {
    fn apply<S: Simd>(simd: S, x: [S::f32s; I]) -> [S::f32s; O];
}

/// The matrix applied to the rows of what `load(row, column)` gives, then to the columns of that; the results are given to
/// `store(row, column, values)`. `half` is what lies between, lent because filling fresh memory takes as long as the transform.
#[inline(always)]
pub(crate) fn in_two_dimensions<T: Transform<I, O>, S: Simd, const I: usize, const O: usize>(
    simd: S,
    half: &mut [[S::f32s; O]; I],
    load: impl Fn(usize, usize) -> S::f32s,
    mut store: impl FnMut(usize, usize, S::f32s),
) {
    let zero = simd.splat_f32s(0.0);
    for (row, half) in half.iter_mut().enumerate() {
        let mut x = [zero; I];
        for (column, x) in x.iter_mut().enumerate() {
            *x = load(row, column);
        }
        *half = T::apply(simd, x);
    }
    for column in 0..O {
        let mut x = [zero; I];
        for (x, half) in x.iter_mut().zip(&*half) {
            *x = half[column];
        }
        for (row, x) in T::apply(simd, x).into_iter().enumerate() {
            store(row, column, x);
        }
    }
}

/// x · factor + y, one rounding where the machine has such an instruction.
#[inline(always)]
fn fma<S: Simd>(simd: S, x: S::f32s, factor: f32, y: S::f32s) -> S::f32s {
    simd.mul_add_e_f32s(x, simd.splat_f32s(factor), y)
}

#[inline(always)]
fn times<S: Simd>(simd: S, x: S::f32s, factor: f32) -> S::f32s {
    simd.mul_f32s(x, simd.splat_f32s(factor))
}

/// (x + y, x − y)
#[inline(always)]
fn butterfly<S: Simd>(simd: S, x: S::f32s, y: S::f32s) -> (S::f32s, S::f32s) {
    (simd.add_f32s(x, y), simd.sub_f32s(x, y))
}

/// Bᵀ: six inputs to the six points.
pub(crate) struct Input;

impl Transform<6, 6> for Input {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, d: [S::f32s; 6]) -> [S::f32s; 6] {
        let (even_a, odd_a) = (fma(simd, d[2], -B2, d[4]), fma(simd, d[1], -B2, d[3]));
        let (even_b, odd_b) = (fma(simd, d[2], -A2, d[4]), fma(simd, d[1], -A2, d[3]));
        [
            fma(simd, d[2], -SUM, simd.add_f32s(d[0], d[4])),
            fma(simd, odd_a, A, even_a),
            fma(simd, odd_a, -A, even_a),
            fma(simd, odd_b, B, even_b),
            fma(simd, odd_b, -B, even_b),
            fma(simd, d[3], -SUM, simd.add_f32s(d[1], d[5])),
        ]
    }
}

/// Aᵀ: products at the six points to four outputs.
pub(crate) struct Output;

impl Transform<6, 4> for Output {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, m: [S::f32s; 6]) -> [S::f32s; 4] {
        let (even_a, odd_a) = butterfly(simd, m[1], m[2]);
        let (even_b, odd_b) = butterfly(simd, m[3], m[4]);
        [
            simd.add_f32s(m[0], simd.add_f32s(even_a, even_b)),
            fma(simd, odd_a, A, times(simd, odd_b, B)),
            fma(simd, even_a, A2, times(simd, even_b, B2)),
            fma(simd, odd_a, A * A2, fma(simd, odd_b, B * B2, m[5])),
        ]
    }
}

/// A: gradients of four outputs to those at the six points.
pub(crate) struct OutputGradient;

impl Transform<4, 6> for OutputGradient {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, g: [S::f32s; 4]) -> [S::f32s; 6] {
        let (even_a, odd_a) = (fma(simd, g[2], A2, g[0]), fma(simd, g[3], A2, g[1]));
        let (even_b, odd_b) = (fma(simd, g[2], B2, g[0]), fma(simd, g[3], B2, g[1]));
        [
            g[0],
            fma(simd, odd_a, A, even_a),
            fma(simd, odd_a, -A, even_a),
            fma(simd, odd_b, B, even_b),
            fma(simd, odd_b, -B, even_b),
            g[3],
        ]
    }
}

/// G: three taps to the six points.
pub(crate) struct Filter;

impl Transform<3, 6> for Filter {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, g: [S::f32s; 3]) -> [S::f32s; 6] {
        let even_a = times(simd, fma(simd, g[2], A2, g[0]), LAGRANGE_A);
        let even_b = times(simd, fma(simd, g[2], B2, g[0]), LAGRANGE_B);
        [
            g[0],
            fma(simd, g[1], A * LAGRANGE_A, even_a),
            fma(simd, g[1], -A * LAGRANGE_A, even_a),
            fma(simd, g[1], B * LAGRANGE_B, even_b),
            fma(simd, g[1], -B * LAGRANGE_B, even_b),
            g[2],
        ]
    }
}

/// Gᵀ: gradients at the six points to those of the three taps.
pub(crate) struct FilterGradient;

impl Transform<6, 3> for FilterGradient {
    #[inline(always)]
    fn apply<S: Simd>(simd: S, u: [S::f32s; 6]) -> [S::f32s; 3] {
        let (even_a, odd_a) = butterfly(simd, u[1], u[2]);
        let (even_b, odd_b) = butterfly(simd, u[3], u[4]);
        let (even_a, even_b) = (times(simd, even_a, LAGRANGE_A), times(simd, even_b, LAGRANGE_B));
        [
            simd.add_f32s(u[0], simd.add_f32s(even_a, even_b)),
            fma(simd, odd_a, A * LAGRANGE_A, times(simd, odd_b, B * LAGRANGE_B)),
            fma(simd, even_a, A2, fma(simd, even_b, B2, u[5])),
        ]
    }
}

#[cfg(test)]
mod tests {
    use pulp::Scalar;

    use super::*;

    /// The matrix of a transform, column by column from unit vectors.
    fn matrix<T: Transform<I, O>, const I: usize, const O: usize>() -> [[f32; I]; O] {
        let columns: [[f32; O]; I] = std::array::from_fn(|column| {
            T::apply(Scalar::new(), std::array::from_fn(|i| if i == column { 1.0 } else { 0.0 }))
        });
        std::array::from_fn(|row| std::array::from_fn(|column| columns[column][row]))
    }

    #[test]
    fn six_products_are_four_outputs_of_three_taps() {
        let (input, filter, output) = (matrix::<Input, 6, 6>(), matrix::<Filter, 3, 6>(), matrix::<Output, 6, 4>());
        for (y, tap, x) in (0..72).map(|i| (i / 18, i / 6 % 3, i % 6)) {
            let coefficient: f32 = (0..6).map(|point| output[y][point] * filter[point][tap] * input[point][x]).sum();
            let expected = if x == y + tap { 1.0 } else { 0.0 };
            assert!((coefficient - expected).abs() < 2e-6, "d[{x}] g[{tap}] in y[{y}]: {coefficient}");
        }
    }

    #[test]
    fn gradients_are_the_transposes() {
        fn check<const I: usize, const O: usize>(forward: [[f32; I]; O], backward: [[f32; O]; I]) {
            for (row, forward) in forward.iter().enumerate() {
                for (column, value) in forward.iter().enumerate() {
                    assert!((value - backward[column][row]).abs() < 1e-6, "({row}, {column})");
                }
            }
        }
        check(matrix::<Output, 6, 4>(), matrix::<OutputGradient, 4, 6>());
        check(matrix::<Filter, 3, 6>(), matrix::<FilterGradient, 6, 3>());
    }
}
