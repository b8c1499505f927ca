//! Intervals from resampling.

use crate::error::{Result, check_parameter};
use crate::mean_and_deviation::mean_and_deviation;

/// The parameters of a bootstrap.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BootstrapConfig {
    /// The number of resamples, at least 2. The ends of an interval need some 1,000, its standard error 50 to 200.
    pub resamples: usize,
    /// The probability of the interval, in (0, 1), such as 0.95.
    pub level: f64,
    /// The seed of the resamples.
    pub seed: u64,
}

impl BootstrapConfig {
    /// An error if a parameter is out of its range.
    pub(crate) fn check(&self) -> Result<()> {
        check_parameter(self.resamples >= 2, "the number of resamples", self.resamples as f64, "at least 2")?;
        check_parameter(self.level > 0.0 && self.level < 1.0, "the level", self.level, "a number in (0, 1)")
    }
}

/// A percentile interval of a metric ([Efron & Tibshirani 1993](https://doi.org/10.1201/9780429246593), chapter 13).
///
/// Each resample draws as many samples as there are, with replacement. The interval is about other draws of samples of
/// the same number from the same model, not about other training runs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct BootstrapInterval {
    /// The metric of the samples themselves.
    pub estimate: f64,
    /// The lower end: the (1 − level) / 2 quantile of the resamples.
    pub low: f64,
    /// The upper end: the (1 + level) / 2 quantile of the resamples.
    pub high: f64,
    /// The mean of the resamples minus `estimate`.
    pub bias: f64,
    /// The standard deviation of the resamples (divisor `resamples` − 1).
    pub standard_error: f64,
    /// The probability of the interval.
    pub level: f64,
    /// The number of resamples.
    pub resamples: usize,
}

impl BootstrapInterval {
    /// The interval shifted by −`bias`: from `low` − `bias` to `high` − `bias`.
    ///
    /// A metric that depends on the number of different samples, as FID does, is larger for every resample than for the
    /// samples, and its percentile interval lies above the estimate. This interval is about the estimate.
    pub fn without_bias(&self) -> (f64, f64) {
        (self.low - self.bias, self.high - self.bias)
    }

    /// The interval of the metrics of all resamples.
    pub(crate) fn new(estimate: f64, mut values: Vec<f64>, config: &BootstrapConfig) -> Self {
        let resamples = values.len();
        let (mean, deviation) = mean_and_deviation(&values);
        values.sort_by(f64::total_cmp);
        let tail = (1.0 - config.level) / 2.0;
        let count = resamples as f64;
        Self {
            estimate,
            low: quantile(&values, tail),
            high: quantile(&values, 1.0 - tail),
            bias: mean - estimate,
            standard_error: deviation * (count / (count - 1.0)).sqrt(),
            level: config.level,
            resamples,
        }
    }
}

/// The quantile of sorted values, interpolated between neighbors as `numpy.quantile` does.
fn quantile(sorted: &[f64], probability: f64) -> f64 {
    let position = probability * (sorted.len() - 1) as f64;
    let (below, share) = (position.floor() as usize, position.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + share * (sorted[above] - sorted[below])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_has_the_quantiles_of_numpy() {
        // numpy.quantile([3, 1, 2, 10], [0.1, 0.9]) is [1.3, 7.9]; numpy.std with ddof=1 is 4.08248290463863.
        let config = BootstrapConfig { resamples: 4, level: 0.8, seed: 0 };
        let interval = BootstrapInterval::new(2.0, vec![3.0, 1.0, 2.0, 10.0], &config);
        let found = [interval.low, interval.high, interval.bias, interval.standard_error];
        for (found, expected) in found.into_iter().zip([1.3, 7.9, 2.0, 4.08248290463863]) {
            assert!((found - expected).abs() < 1e-12, "{found} and {expected}");
        }
        let (low, high) = interval.without_bias();
        assert!((low + 0.7).abs() < 1e-12 && (high - 5.9).abs() < 1e-12);
    }
}
