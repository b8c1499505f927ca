//! Mean and standard deviation of a few numbers.

/// The mean, and the standard deviation with divisor n as `numpy.std` computes it. `values` is not empty.
pub(crate) fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count;
    (mean, variance.sqrt())
}
