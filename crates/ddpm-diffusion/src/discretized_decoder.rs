//! The discrete decoder of L_0: how likely a pixel's value is under a normal distribution.

use candle_core::Tensor;

use crate::DiffusionError;
use crate::error::{batch, check_shape};

/// ln p(x_0) of each image under the discrete decoder (Ho et al. 2020, eq. 13): the normal distribution N(mean, σ²) of each
/// element, integrated over the bin of its value. There are 256 bins on [−1, 1], centred on the values k / 127.5 − 1; the
/// outermost reach to infinity.
///
/// # Shapes
/// `x_0`, with the values k / 127.5 − 1, and `mean` [batch, channel, height, width]; `log_variance` ln σ² an image. The
/// result is in nats, one an image.
///
/// # Errors
/// When the shapes differ.
pub fn discretized_log_likelihood(
    x_0: &Tensor,
    mean: &Tensor,
    log_variance: &[f64],
) -> Result<Vec<f64>, DiffusionError> {
    check_shape("mean", mean.dims(), x_0.dims())?;
    check_shape("log_variance", &[log_variance.len()], batch(x_0))?;
    let values = |t: &Tensor| t.to_dtype(candle_core::DType::F64)?.flatten_from(1)?.to_vec2::<f64>();
    let (x_0, mean) = (values(x_0)?, values(mean)?);
    let image = |((x, mean), log_variance): ((&Vec<f64>, &Vec<f64>), &f64)| {
        let inverse = (-0.5 * log_variance).exp();
        x.iter().zip(mean).map(|(x, mean)| log_probability(*x, *mean, inverse)).sum()
    };
    Ok(x_0.iter().zip(&mean).zip(log_variance).map(image).collect())
}

/// Half the width of a bin.
const HALF: f64 = 1.0 / 255.0;

/// ln of the probability of the bin around `x` under N(mean, 1 / inverse²).
fn log_probability(x: f64, mean: f64, inverse: f64) -> f64 {
    let (low, high) = ((x - HALF - mean) * inverse, (x + HALF - mean) * inverse);
    let probability = if x < -0.999 {
        normal_cdf(high)
    } else if x > 0.999 {
        normal_cdf(-low)
    } else if low > 0.0 {
        // In the upper tail the distribution function is 1 to the last bit: its mirror image is not.
        normal_cdf(-low) - normal_cdf(-high)
    } else {
        normal_cdf(high) - normal_cdf(low)
    };
    // A bin far out in a tail has a probability below the smallest f64; it is not impossible.
    probability.max(f64::MIN_POSITIVE).ln()
}

/// Φ(x), accurate in the lower tail.
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
    fn the_bins_have_all_the_probability() {
        for (mean, sigma) in [(0.0, 0.3), (0.9, 0.05), (-2.0, 1.0), (0.123, 0.01)] {
            let total: f64 = (0..256).map(|k| log_probability(value(k), mean, 1.0 / sigma).exp()).sum();
            // 256 terms of rounding 1e-16, and bins below the smallest f64 count as that.
            assert!((total - 1.0).abs() < 1e-12, "N({mean}, {sigma}²): {total}");
        }
    }

    #[test]
    fn a_bin_is_the_integral_of_the_density() {
        let (mean, sigma) = (0.2, 0.1);
        for k in [100, 150, 153, 200] {
            let n = 1000;
            let density =
                |x: f64| (-0.5 * ((x - mean) / sigma).powi(2)).exp() / (sigma * (2.0 * std::f64::consts::PI).sqrt());
            let width = 2.0 * HALF / f64::from(n);
            let middle = |j: i32| value(k) - HALF + (f64::from(j) + 0.5) * width;
            let integral: f64 = (0..n).map(|j| density(middle(j)) * width).sum();
            let found = log_probability(value(k), mean, 1.0 / sigma).exp();
            // The midpoint rule on 1,000 intervals is off by about 1e-9 of the value here.
            assert!((found - integral).abs() < 1e-8 * integral, "bin {k}: {found} {integral}");
        }
    }

    #[test]
    fn far_tails_stay_finite() {
        assert!(log_probability(value(255), -1.0, 1e6).is_finite());
        assert!(log_probability(value(3), 1.0, 1e3).is_finite());
    }
}
