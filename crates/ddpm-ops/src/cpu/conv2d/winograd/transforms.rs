//! The transforms of F(4, 3): four outputs of a filter with three taps from six products (Winograd 1980; Lavin & Gray
//! 2016).
//!
//! In the notation of Lavin & Gray, y = Aᵀ [(G g) ∘ (Bᵀ d)], with the window d, the filter g and the outputs y. The
//! gradient with respect to g is Gᵀ [(Bᵀ d) ∘ (A ∂y)]. In two dimensions each matrix is applied to the rows and then to
//! the columns.
//!
//! The matrices evaluate two polynomials at six points and interpolate their product (Toom–Cook). The points are 0, ±a,
//! ±b and ∞ with a = 1/√2 and b = √2.
//!
//! DIFFERENCE: Lavin & Gray use the points ±1 and ±2. With a and b, which are inverses of each other, all coefficients
//! lie within a factor of 6 of one another, and the rounding error is less than half as large.

use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

use pulp::Simd;

/// The number of points of the transform domain in two dimensions.
pub(crate) const POINTS: usize = 36;

/// The number of taps of a kernel.
pub(crate) const TAPS: usize = 9;

/// The number of rows and columns of an output tile.
pub(crate) const TILE_SIDE: usize = 4;

const A: f32 = FRAC_1_SQRT_2;
const B: f32 = SQRT_2;
const A2: f32 = 0.5;
const B2: f32 = 2.0;
/// a² + b². The product a² b² is 1.
const SUM: f32 = 2.5;
/// The inverse denominators of the Lagrange polynomials at ±a and ±b: 1 / (2a² (a² − b²)) and 1 / (2b² (b² − a²)).
const LAGRANGE_A: f32 = -1.0 / 1.5;
const LAGRANGE_B: f32 = 1.0 / 6.0;

/// One of the five matrices, which maps `I` numbers to `O` numbers.
pub(crate) trait Transform<const I: usize, const O: usize> {
    /// The product of the matrix with x, for each lane of the vectors.
    fn apply<S: Simd>(simd: S, x: [S::f32s; I]) -> [S::f32s; O];
}

/// Applies the matrix to the rows of the values `load(row, column)`, then to the columns of the result, and passes the
/// final values to `store(row, column, values)`.
///
/// `half` is memory for the result of the first step. The caller provides it because initializing it in every call
/// would take as long as the transform.
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

/// x · factor + y, rounded once if the machine has FMA.
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

/// Bᵀ: transforms six inputs to the six points.
pub(crate) struct InputTransform;

impl Transform<6, 6> for InputTransform {
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

/// Aᵀ: transforms products at the six points to four outputs.
pub(crate) struct OutputTransform;

impl Transform<6, 4> for OutputTransform {
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

/// A: transforms gradients of four outputs to gradients at the six points.
pub(crate) struct OutputGradientTransform;

impl Transform<4, 6> for OutputGradientTransform {
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

/// G: transforms three taps to the six points.
pub(crate) struct FilterTransform;

impl Transform<3, 6> for FilterTransform {
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

/// Gᵀ: transforms gradients at the six points to gradients of the three taps.
pub(crate) struct FilterGradientTransform;

impl Transform<6, 3> for FilterGradientTransform {
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

    /// The matrix of a transform, whose columns are its values for unit vectors.
    fn matrix<T: Transform<I, O>, const I: usize, const O: usize>() -> [[f32; I]; O] {
        let columns: [[f32; O]; I] = std::array::from_fn(|column| {
            T::apply(Scalar::new(), std::array::from_fn(|i| if i == column { 1.0 } else { 0.0 }))
        });
        std::array::from_fn(|row| std::array::from_fn(|column| columns[column][row]))
    }

    #[test]
    fn six_products_give_four_outputs_of_three_taps() {
        let (input, filter, output) =
            (matrix::<InputTransform, 6, 6>(), matrix::<FilterTransform, 3, 6>(), matrix::<OutputTransform, 6, 4>());
        for (y, tap, x) in (0..72).map(|i| (i / 18, i / 6 % 3, i % 6)) {
            let coefficient: f32 = (0..6).map(|point| output[y][point] * filter[point][tap] * input[point][x]).sum();
            let expected = if x == y + tap { 1.0 } else { 0.0 };
            assert!((coefficient - expected).abs() < 2e-6, "d[{x}] g[{tap}] in y[{y}]: {coefficient}");
        }
    }

    #[test]
    fn gradients_use_the_transposed_matrices() {
        fn check<const I: usize, const O: usize>(forward: [[f32; I]; O], backward: [[f32; O]; I]) {
            for (row, forward) in forward.iter().enumerate() {
                for (column, value) in forward.iter().enumerate() {
                    assert!((value - backward[column][row]).abs() < 1e-6, "({row}, {column})");
                }
            }
        }
        check(matrix::<OutputTransform, 6, 4>(), matrix::<OutputGradientTransform, 4, 6>());
        check(matrix::<FilterTransform, 3, 6>(), matrix::<FilterGradientTransform, 6, 3>());
    }
}
