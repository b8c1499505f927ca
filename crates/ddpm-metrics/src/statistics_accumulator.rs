//! Mean and covariance of features that arrive in batches.

use crate::blocks::blocks;
use crate::error::{Result, check_samples, check_widths};
use crate::feature_statistics::FeatureStatistics;
use crate::features::Features;
use crate::linear_algebra::{add_scatter, mirror_upper};

/// The number of rows that are converted to f64 and multiplied at a time.
const ROWS: usize = 512;

/// Sums of features in f64, added batch by batch: the count n, the mean μ `[width]` and the scatter matrix
/// M = Σ (x − μ)(x − μ)ᵀ [width, width].
///
/// Two sets a and b are combined as in [Chan et al. 1983](https://doi.org/10.1080/00031305.1983.10483115), with
/// δ = μ_b − μ_a:
///
/// n = n_a + n_b, μ = μ_a + δ n_b / n, M = M_a + M_b + δ δᵀ n_a n_b / n
///
/// so nothing cancels, however large the mean is. Batches of a few hundred rows are fast; each batch costs at least
/// width² operations. How the rows are divided into batches changes the result by rounding only.
///
/// # Examples
/// ```
/// use ddpm_metrics::{Features, StatisticsAccumulator};
///
/// let mut accumulator = StatisticsAccumulator::new(1);
/// accumulator.add(&Features::new(vec![1.0, 2.0], 1)?)?;
/// accumulator.add(&Features::new(vec![6.0], 1)?)?;
/// let statistics = accumulator.finish()?;
/// assert_eq!((statistics.mean()[0], statistics.covariance()[0]), (3.0, 7.0));
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
#[derive(Debug, Clone)]
pub struct StatisticsAccumulator {
    count: u64,
    mean: Vec<f64>,
    /// M, of which only the upper triangle is used.
    scatter: Vec<f64>,
}

impl StatisticsAccumulator {
    /// Sums of no features, of this width.
    pub fn new(width: usize) -> Self {
        Self { count: 0, mean: vec![0.0; width], scatter: vec![0.0; width * width] }
    }

    /// The number of rows added so far.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds a batch.
    ///
    /// # Errors
    /// [`MetricsError::Widths`](crate::MetricsError::Widths) if the width differs.
    pub fn add(&mut self, batch: &Features) -> Result<()> {
        check_widths(self.mean.len(), batch.width())?;
        for rows in blocks(batch.rows(), ROWS) {
            let count = rows.len();
            // Centered values have small sums, so that the mean of the block is exact to its last bits.
            let mut values = batch.centered(rows, &self.mean);
            let mut shift = vec![0.0; batch.width()];
            for row in values.chunks_exact(batch.width()) {
                shift.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            shift.iter_mut().for_each(|sum| *sum /= count as f64);
            for row in values.chunks_exact_mut(batch.width()) {
                row.iter_mut().zip(&shift).for_each(|(value, shift)| *value -= shift);
            }
            add_scatter(&mut self.scatter, &values, batch.width());
            self.shift_mean(&shift, count as u64);
        }
        Ok(())
    }

    /// Adds everything that another accumulator holds, such as that of another process.
    ///
    /// # Errors
    /// [`MetricsError::Widths`](crate::MetricsError::Widths) if the widths differ.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        check_widths(self.mean.len(), other.mean.len())?;
        let shift: Vec<f64> = other.mean.iter().zip(&self.mean).map(|(b, a)| b - a).collect();
        self.scatter.iter_mut().zip(&other.scatter).for_each(|(a, b)| *a += b);
        self.shift_mean(&shift, other.count);
        Ok(())
    }

    /// The terms of Chan et al. that depend on δ = `shift`, for `count` new rows whose own scatter has been added.
    fn shift_mean(&mut self, shift: &[f64], count: u64) {
        let total = self.count + count;
        if total == 0 {
            return;
        }
        let share = count as f64 / total as f64;
        let factor = self.count as f64 * share;
        if self.count > 0 {
            for (i, row) in self.scatter.chunks_exact_mut(shift.len()).enumerate() {
                let scale = factor * shift[i];
                row[i..].iter_mut().zip(&shift[i..]).for_each(|(value, shift)| *value += scale * shift);
            }
        }
        self.mean.iter_mut().zip(shift).for_each(|(mean, shift)| *mean += share * shift);
        self.count = total;
    }

    /// The mean and the unbiased covariance M / (n − 1), as `numpy.cov` computes it.
    ///
    /// # Errors
    /// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for fewer than two rows.
    pub fn finish(self) -> Result<FeatureStatistics> {
        let Self { count, mean, scatter: mut covariance } = self;
        check_samples("a covariance", usize::try_from(count).unwrap_or(usize::MAX), 2)?;
        covariance.iter_mut().for_each(|value| *value /= (count - 1) as f64);
        mirror_upper(&mut covariance, mean.len());
        FeatureStatistics::new(mean, covariance, Some(count))
    }
}

// Here and not beside the type, which does not know how its values are computed.
impl FeatureStatistics {
    /// The statistics of a set of features that is in memory as a whole.
    ///
    /// # Errors
    /// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for a single row.
    pub fn of(features: &Features) -> Result<Self> {
        let mut accumulator = StatisticsAccumulator::new(features.width());
        accumulator.add(features)?;
        accumulator.finish()
    }
}
