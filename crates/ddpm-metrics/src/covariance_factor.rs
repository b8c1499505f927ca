//! A factor A of a covariance, Σ = A Aᵀ, without its null space.

use crate::error::{MetricsError, Result};
use crate::feature_statistics::FeatureStatistics;
use crate::linear_algebra::eigenvectors;

/// An eigenvalue below −1e-3 of the largest cannot be a rounding error, not even of values that were stored in f16.
const NEGATIVE: f64 = 1e-3;

/// A [width, rank] with Σ = A Aᵀ: the columns are √λ u for the eigenvalues λ > width · ε · λ_max and their
/// eigenvectors u. Smaller eigenvalues, the negative ones among them, are rounding errors of zero (the threshold of
/// `numpy.linalg.matrix_rank`).
#[derive(Debug)]
pub(crate) struct CovarianceFactor {
    /// A in row-major order.
    pub(crate) values: Vec<f64>,
    pub(crate) rank: usize,
}

impl CovarianceFactor {
    /// # Errors
    /// [`MetricsError::Statistics`] if Σ has an eigenvalue that is clearly negative, [`MetricsError::NoConvergence`].
    pub(crate) fn new(statistics: &FeatureStatistics) -> Result<Self> {
        let width = statistics.width();
        let (eigenvalues, vectors) = eigenvectors(statistics.covariance(), width)?;
        let (smallest, largest) = (eigenvalues[0], eigenvalues[width - 1]);
        if smallest < -NEGATIVE * largest.max(0.0) {
            let problem = format!("the smallest eigenvalue is {smallest}, expected none below 0");
            return Err(MetricsError::Statistics { field: "sigma", problem });
        }
        let threshold = width as f64 * f64::EPSILON * largest;
        let first = eigenvalues.partition_point(|&value| value <= threshold.max(0.0));
        let roots: Vec<f64> = eigenvalues[first..].iter().map(|value| value.sqrt()).collect();
        let element = |row: usize| roots.iter().enumerate().map(move |(i, root)| (row, i, root));
        let values = (0..width).flat_map(element).map(|(row, i, root)| root * vectors[(row, first + i)]).collect();
        Ok(Self { values, rank: roots.len() })
    }
}
