//! The exponential and the logistic function of f32, written so that compilers vectorize loops over them.

use crate::cpu::vectorize::Fma;

/// e^x with a relative error below 2e-7 for x in [−87, 88]. Arguments outside of this range are clamped to it; NaN
/// gives NaN.
///
/// The function uses the Cody–Waite reduction x = n ln 2 + r with |r| ≤ ln 2 / 2 and a polynomial for e^r. It has no
/// branch, table or library call, so a loop over it becomes SIMD code.
#[inline(always)]
pub(crate) fn exp(fma: Fma, x: f32) -> f32 {
    // Adding and subtracting 1.5 · 2²³ rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    let rounded = fma.mul_add(x, std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = fma.mul_add(n, -LN2_LOW, fma.mul_add(n, -LN2_HIGH, x));
    // The Taylor series up to r⁷, whose remainder at ln 2 / 2 is 5e-9.
    let mut p = 1.0 / 5040.0;
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        p = fma.mul_add(p, r, coefficient);
    }
    let exponent = (rounded.to_bits() << 23).wrapping_add(0x3f80_0000);
    p * f32::from_bits(exponent)
}

/// The logistic function 1 / (1 + e^(−x)).
#[inline(always)]
pub(crate) fn sigmoid(fma: Fma, x: f32) -> f32 {
    1.0 / (1.0 + exp(fma, -x))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_exponential_within_two_in_ten_million() {
        for fma in Fma::BOTH {
            for i in -86_000..=87_900 {
                let x = i as f32 * 1e-3;
                let truth = f64::from(x).exp();
                let error = (f64::from(exp(fma, x)) - truth).abs() / truth;
                assert!(error < 2e-7, "exp({x}): relative error {error:e}");
            }
            assert_eq!(exp(fma, 0.0), 1.0);
            assert!(exp(fma, f32::NAN).is_nan());
            assert!(exp(fma, f32::NEG_INFINITY) < 2e-38 && exp(fma, f32::INFINITY) > 1e38);
        }
    }

    #[test]
    fn sigmoid_approaches_its_limits() {
        for fma in Fma::BOTH {
            assert_eq!(sigmoid(fma, 0.0), 0.5);
            assert_eq!(sigmoid(fma, 50.0), 1.0);
            assert!(sigmoid(fma, -80.0) >= 0.0 && sigmoid(fma, -80.0) < 1e-30);
        }
    }
}
