//! Matrix products of strided slices, on AMX where that is faster, otherwise with the `gemm` crate.

mod amx_gemm;
mod operands;

pub(crate) use self::operands::{Strides, WriteMode};

/// `out (m × n) = a (m × k) · b (k × n)`, or the product added to `out`, on `threads` threads of the current rayon
/// pool.
///
/// # Panics
/// When a slice is shorter than its matrix spans: a bug of the caller.
#[allow(clippy::too_many_arguments, reason = "the arguments of a matrix product")]
pub(crate) fn gemm(
    (m, n, k): (usize, usize, usize),
    out: &mut [f32],
    out_strides: Strides,
    write_mode: WriteMode,
    a: &[f32],
    a_strides: Strides,
    b: &[f32],
    b_strides: Strides,
    threads: usize,
) {
    assert!(out.len() >= out_strides.span(m, n), "out holds {} elements", out.len());
    assert!(a.len() >= a_strides.span(m, k), "a holds {} elements", a.len());
    assert!(b.len() >= b_strides.span(k, n), "b holds {} elements", b.len());
    if threads <= 1 && amx_gemm::supports((m, n, k), out_strides, a_strides, b_strides) {
        return amx_gemm::gemm((m, n, k), (out, out_strides.rows), write_mode, (a, a_strides), (b, b_strides));
    }
    let parallelism = if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: the three assertions ensure that every element that the strides address lies within its slice. `out` is
    // borrowed mutably, so it overlaps neither `a` nor `b`. Strides fit isize because they address slices. All memory
    // is initialized.
    #[allow(unsafe_code, reason = "the `gemm` crate takes pointers")]
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            out_strides.columns as isize,
            out_strides.rows as isize,
            matches!(write_mode, WriteMode::Add),
            a.as_ptr(),
            a_strides.columns as isize,
            a_strides.rows as isize,
            b.as_ptr(),
            b_strides.columns as isize,
            b_strides.rows as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiplies_adds_and_transposes() {
        let (a, b) = ([1., 2., 3., 4., 5., 6.], [1., 0., 2., 1., 0., 3.]); // a: 2×3, b: 3×2
        let mut out = [f32::NAN; 4];
        let (row3, row2) = (Strides::row_major(3), Strides::row_major(2));
        gemm((2, 2, 3), &mut out, row2, WriteMode::Replace, &a, row3, &b, row2, 1);
        assert_eq!(out, [5., 11., 14., 23.]);
        gemm((2, 2, 3), &mut out, row2, WriteMode::Add, &a, row3, &b, row2, 2);
        assert_eq!(out, [10., 22., 28., 46.]);
        // aᵀ (3×2) · a (2×3)
        let mut gram = [0.; 9];
        gemm((3, 3, 2), &mut gram, row3, WriteMode::Replace, &a, Strides::transposed(3), &a, row3, 1);
        assert_eq!(gram, [17., 22., 27., 22., 29., 36., 27., 36., 45.]);
    }

    #[test]
    fn every_layout_and_edge_agrees_with_a_plain_loop() {
        let values = |n: usize, seed: u32| -> Vec<f32> {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 8) as f32 / 8_388_608.0 - 1.0
            };
            (0..n).map(|_| next()).collect()
        };
        for (m, n, k) in [(16, 16, 16), (17, 40, 33), (64, 32, 96), (100, 65, 31)] {
            let (a, b) = (values(m * k, 1), values(k * n, 2));
            for (a_strides, b_strides) in (0..4).map(|i| (i / 2, i % 2)) {
                let a_strides = if a_strides == 0 { Strides::row_major(k) } else { Strides::transposed(m) };
                let b_strides = if b_strides == 0 { Strides::row_major(n) } else { Strides::transposed(k) };
                for write_mode in [WriteMode::Replace, WriteMode::Add] {
                    let mut out = vec![0.5; m * n];
                    gemm((m, n, k), &mut out, Strides::row_major(n), write_mode, &a, a_strides, &b, b_strides, 1);
                    for (i, out) in out.iter().enumerate() {
                        let (row, column) = (i / n, i % n);
                        let product = |j: usize| {
                            f64::from(a[row * a_strides.rows + j * a_strides.columns])
                                * f64::from(b[j * b_strides.rows + column * b_strides.columns])
                        };
                        let initial = if matches!(write_mode, WriteMode::Add) { 0.5 } else { 0.0 };
                        let expected = initial + (0..k).map(product).sum::<f64>();
                        assert!((f64::from(*out) - expected).abs() < 2e-5, "{m} {n} {k}: {out} for {expected}");
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "b holds 1 elements")]
    fn a_short_slice_is_caught() {
        let s = Strides::row_major(2);
        gemm((2, 2, 2), &mut [0.; 4], s, WriteMode::Replace, &[0.; 4], s, &[0.; 1], s, 1);
    }
}
