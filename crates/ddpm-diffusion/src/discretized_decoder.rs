//! The discretized decoder of L_0: the probability of an 8-bit pixel value under a normal distribution.

use candle_core::Tensor;

use crate::DiffusionError;
use crate::error::check_shape;

/// ln p(x_0) of each image under the discretized decoder (Ho et al. 2020, eq. 13): the density of N(mean, σ²),
/// integrated over the bin of each element's value. There are 256 bins on [−1, 1], with centers k / 127.5 − 1; the
/// first and the last bin extend to infinity.
///
/// # Shapes
/// `x_0`, with the values k / 127.5 − 1, `mean` and `log_variance`, ln σ², are [batch, channel, height, width]. The
/// result has one value per image, the sum over its elements, in nats.
///
/// # Errors
/// If the shapes differ.
pub fn discretized_log_likelihood(
    x_0: &Tensor,
    mean: &Tensor,
    log_variance: &Tensor,
) -> Result<Vec<f64>, DiffusionError> {
    check_shape("mean", mean.dims(), x_0.dims())?;
    check_shape("log_variance", log_variance.dims(), x_0.dims())?;
    let values = |t: &Tensor| t.to_dtype(candle_core::DType::F64)?.flatten_from(1)?.to_vec2::<f64>();
    let (x_0, mean, log_variance) = (values(x_0)?, values(mean)?, values(log_variance)?);
    let image = |((x, mean), log_variance): ((&Vec<f64>, &Vec<f64>), &Vec<f64>)| {
        let pixels = x.iter().zip(mean).zip(log_variance);
        pixels.map(|((x, mean), log_variance)| log_probability(*x, *mean, (-0.5 * log_variance).exp())).sum()
    };
    Ok(x_0.iter().zip(&mean).zip(&log_variance).map(image).collect())
}

/// Half of the width of a bin.
const HALF_BIN: f64 = 1.0 / 255.0;

/// The logarithm of the probability of the bin around `x` under N(mean, σ²).
fn log_probability(x: f64, mean: f64, inverse_sigma: f64) -> f64 {
    let (low, high) = ((x - HALF_BIN - mean) * inverse_sigma, (x + HALF_BIN - mean) * inverse_sigma);
    let probability = if x < -0.999 {
        normal_cdf(high)
    } else if x > 0.999 {
        normal_cdf(-low)
    } else if low > 0.0 {
        // In the upper tail Φ rounds to 1, so the difference is taken between the mirrored arguments.
        normal_cdf(-low) - normal_cdf(-high)
    } else {
        normal_cdf(high) - normal_cdf(low)
    };
    // The probability of a bin far from the mean may underflow to 0, whose logarithm would be −∞.
    probability.max(f64::MIN_POSITIVE).ln()
}

/// The distribution function Φ(x) of N(0, 1), accurate in the lower tail.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * std::f64::consts::FRAC_1_SQRT_2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(k: usize) -> f64 {
        k as f64 / 127.5 - 1.0
    }

    #[test]
    fn probabilities_of_all_bins_add_up_to_one() {
        for (mean, sigma) in [(0.0, 0.3), (0.9, 0.05), (-2.0, 1.0), (0.123, 0.01)] {
            let total: f64 = (0..256).map(|k| log_probability(value(k), mean, 1.0 / sigma).exp()).sum();
            // Rounding of 256 terms; underflowed bins contribute the smallest positive f64 each.
            assert!((total - 1.0).abs() < 1e-12, "N({mean}, {sigma}²): {total}");
        }
    }

    #[test]
    fn probability_of_a_bin_is_the_integral_of_the_density() {
        let (mean, sigma) = (0.2, 0.1);
        for k in [100, 150, 153, 200] {
            let n = 1000;
            let density =
                |x: f64| (-0.5 * ((x - mean) / sigma).powi(2)).exp() / (sigma * (2.0 * std::f64::consts::PI).sqrt());
            let width = 2.0 * HALF_BIN / f64::from(n);
            let middle = |j: i32| value(k) - HALF_BIN + (f64::from(j) + 0.5) * width;
            let integral: f64 = (0..n).map(|j| density(middle(j)) * width).sum();
            let found = log_probability(value(k), mean, 1.0 / sigma).exp();
            // The relative error of the midpoint rule with 1,000 intervals is about 1e-9 here.
            assert!((found - integral).abs() < 1e-8 * integral, "bin {k}: {found} {integral}");
        }
    }

    #[test]
    fn logarithms_far_from_the_mean_are_finite() {
        assert!(log_probability(value(255), -1.0, 1e6).is_finite());
        assert!(log_probability(value(3), 1.0, 1e3).is_finite());
    }
}
