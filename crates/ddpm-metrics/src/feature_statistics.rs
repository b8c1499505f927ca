//! The mean and the covariance of features.

use crate::error::{MetricsError, Result};

/// The largest difference between σ_ij and σ_ji, relative to the largest element of σ. Covariances that were stored in
/// f32, or summed by threads in different orders, differ by up to about 1e-6.
const ASYMMETRY: f64 = 1e-5;

/// The mean μ `[width]` and the covariance Σ [width, width] of features, in f64.
///
/// All values are finite, Σ is symmetric, and its diagonal is not negative.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureStatistics {
    mean: Vec<f64>,
    covariance: Vec<f64>,
    count: Option<u64>,
}

impl FeatureStatistics {
    /// Takes a mean `[width]`, a covariance [width, width] in row-major order, and the number of samples if it is
    /// known. Elements σ_ij and σ_ji that differ by at most 1e-5 of the largest element are replaced by their mean.
    ///
    /// # Errors
    /// [`MetricsError::Statistics`] for other lengths, values that are not finite, a covariance that is not symmetric,
    /// and a negative variance. [`MetricsError::NoWidth`] for an empty mean.
    pub fn new(mean: Vec<f64>, mut covariance: Vec<f64>, count: Option<u64>) -> Result<Self> {
        let width = mean.len();
        if width == 0 {
            return Err(MetricsError::NoWidth);
        }
        let invalid = |field, problem| Err(MetricsError::Statistics { field, problem });
        if width.checked_mul(width) != Some(covariance.len()) {
            let found = covariance.len();
            return invalid("sigma", format!("found {found} values, expected {width} x {width} as mu has {width}"));
        }
        if let Some(i) = mean.iter().position(|value| !value.is_finite()) {
            return invalid("mu", format!("value {i} is {}, expected a finite number", mean[i]));
        }
        if let Some(i) = covariance.iter().position(|value| !value.is_finite()) {
            let (row, column) = (i / width, i % width);
            return invalid("sigma", format!("[{row}, {column}] is {}, expected a finite number", covariance[i]));
        }
        let largest = covariance.iter().fold(0.0f64, |largest, value| largest.max(value.abs()));
        for row in 0..width {
            if covariance[row * width + row] < 0.0 {
                let value = covariance[row * width + row];
                return invalid("sigma", format!("[{row}, {row}] is {value}, expected a variance of at least 0"));
            }
            for column in 0..row {
                let (a, b) = (covariance[row * width + column], covariance[column * width + row]);
                // Halves, because the difference of large values could overflow.
                if (a / 2.0 - b / 2.0).abs() > ASYMMETRY * (largest / 2.0) {
                    let found = format!("[{row}, {column}] is {a} and [{column}, {row}] is {b}");
                    return invalid("sigma", format!("{found}, expected a symmetric matrix"));
                }
                let middle = a / 2.0 + b / 2.0;
                covariance[row * width + column] = middle;
                covariance[column * width + row] = middle;
            }
        }
        Ok(Self { mean, covariance, count })
    }

    /// The number of values of a feature.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// μ `[width]`.
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// Σ [width, width], row by row.
    pub fn covariance(&self) -> &[f64] {
        &self.covariance
    }

    /// The number of samples, `None` for a file that does not contain it.
    pub fn count(&self) -> Option<u64> {
        self.count
    }

    /// tr Σ, the sum of the variances.
    pub(crate) fn trace(&self) -> f64 {
        self.covariance.iter().step_by(self.width() + 1).sum()
    }
}
