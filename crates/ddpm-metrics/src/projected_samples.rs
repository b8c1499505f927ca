//! Fréchet distances of many weightings of one set of features to one reference.

use crate::blocks::blocks;
use crate::covariance_factor::CovarianceFactor;
use crate::error::{Result, check_widths};
use crate::feature_statistics::FeatureStatistics;
use crate::features::Features;
use crate::frechet_distance::squared_distance;
use crate::linear_algebra::{add_scatter, eigenvalues, product};

/// The number of rows that are multiplied at a time.
const ROWS: usize = 512;

/// Features x [n, width] and their projections y = A_2ᵀ (x − μ) [n, rank] on the factor of the reference's covariance,
/// Σ_2 = A_2 A_2ᵀ.
///
/// The covariance of weighted projections is A_2ᵀ Σ_1 A_2, whose eigenvalues are those of Σ_1 Σ_2. A distance of
/// weighted features therefore needs one product of n · rank² / 2 and the eigenvalues of one symmetric matrix; the
/// eigenvectors of the reference are computed once. The roots of these eigenvalues have errors of √ε instead of the ε
/// of [`frechet_distance`](crate::frechet_distance()), which is far below the random error of the samples.
#[derive(Debug)]
pub(crate) struct ProjectedSamples<'a> {
    features: &'a Features,
    reference: &'a FeatureStatistics,
    center: Vec<f64>,
    /// ‖x − μ‖² for each row.
    norms: Vec<f64>,
    /// y in row-major order.
    projections: Vec<f64>,
    rank: usize,
}

impl<'a> ProjectedSamples<'a> {
    pub(crate) fn new(features: &'a Features, reference: &'a FeatureStatistics) -> Result<Self> {
        check_widths(features.width(), reference.width())?;
        let factor = CovarianceFactor::new(reference)?;
        let center = features.mean();
        let (mut norms, mut projections) = (Vec::with_capacity(features.rows()), Vec::new());
        for rows in blocks(features.rows(), ROWS) {
            let values = features.centered(rows, &center);
            norms.extend(values.chunks_exact(features.width()).map(|row| row.iter().map(|v| v * v).sum::<f64>()));
            if factor.rank > 0 {
                projections.extend(product(&values, &factor.values, features.width()));
            }
        }
        Ok(Self { features, reference, center, norms, projections, rank: factor.rank })
    }

    /// The Fréchet distance of the features with these weights, whole numbers with a sum of at least 2, to the
    /// reference. A weight of w counts a row w times.
    pub(crate) fn distance(&self, weights: &[f64]) -> Result<f64> {
        let used: Vec<usize> = (0..weights.len()).filter(|&row| weights[row] > 0.0).collect();
        let count: f64 = weights.iter().sum();
        let mean = self.mean(&used, weights, count);
        let squares: f64 = used.iter().map(|&row| weights[row] * self.norms[row]).sum();
        let trace = (squares - count * squared_distance(&mean, &self.center)) / (count - 1.0);
        let root_trace = self.root_trace(&used, weights, count)?;
        let covariance_term = trace + self.reference.trace() - 2.0 * root_trace;
        Ok(squared_distance(&mean, self.reference.mean()) + covariance_term)
    }

    /// The weighted mean `[width]`.
    fn mean(&self, used: &[usize], weights: &[f64], count: f64) -> Vec<f64> {
        let mut offset = vec![0.0; self.center.len()];
        for &row in used {
            let terms = self.features.row(row).iter().zip(&self.center);
            let weight = weights[row] / count;
            offset.iter_mut().zip(terms).for_each(|(sum, (&x, center))| *sum += weight * (f64::from(x) - center));
        }
        offset.iter().zip(&self.center).map(|(offset, center)| offset + center).collect()
    }

    /// tr (Σ_1 Σ_2)^½.
    fn root_trace(&self, used: &[usize], weights: &[f64], count: f64) -> Result<f64> {
        let rank = self.rank;
        if rank == 0 {
            return Ok(0.0);
        }
        let (mut scatter, mut sum) = (vec![0.0; rank * rank], vec![0.0; rank]);
        for rows in used.chunks(ROWS) {
            let mut scaled = Vec::with_capacity(rows.len() * rank);
            for &row in rows {
                let (values, weight) = (&self.projections[row * rank..][..rank], weights[row]);
                sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                scaled.extend(values.iter().map(|value| weight.sqrt() * value));
            }
            add_scatter(&mut scatter, &scaled, rank);
        }
        for (i, row) in scatter.chunks_exact_mut(rank).enumerate() {
            let scale = sum[i] / count;
            row.iter_mut().zip(&sum).for_each(|(value, sum)| *value = (*value - scale * sum) / (count - 1.0));
        }
        // The rank of a covariance is below the number of different samples; further eigenvalues are rounding errors.
        let values = eigenvalues(&scatter, rank)?;
        let nonzero = rank.min(used.len() - 1);
        Ok(values[rank - nonzero..].iter().map(|value| value.max(0.0).sqrt()).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frechet_distance::frechet_distance;

    /// Fractions of multiples of the golden ratio and its square: points without a pattern.
    fn features(rows: usize, width: usize, stride: f64) -> Features {
        let value = |i: usize| (i as f64 * stride).fract() as f32 + (i % width) as f32;
        Features::new((0..rows * width).map(value).collect(), width).unwrap()
    }

    #[test]
    fn a_weight_counts_a_row_several_times() {
        let (samples, others) = (features(9, 3, 0.618_033_988_7), features(20, 3, 0.754_877_666_2));
        let reference = FeatureStatistics::of(&others).unwrap();
        let projected = ProjectedSamples::new(&samples, &reference).unwrap();
        for weights in [[3.0, 0.0, 1.0, 0.0, 2.0, 0.0, 1.0, 4.0, 0.0], [0.0, 0.0, 0.0, 5.0, 0.0, 0.0, 2.0, 0.0, 0.0]] {
            let rows: Vec<usize> = (0..9).flat_map(|row| std::iter::repeat_n(row, weights[row] as usize)).collect();
            let repeated = FeatureStatistics::of(&samples.select(&rows).unwrap()).unwrap();
            let expected = frechet_distance(&repeated, &reference).unwrap().distance;
            let found = projected.distance(&weights).unwrap();
            assert!((found - expected).abs() < 1e-13, "{found} and {expected}");
        }
        // A single row has no covariance.
        let found = projected.distance(&[0.0, 9.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]).unwrap();
        let row: Vec<f64> = samples.row(1).iter().map(|&value| f64::from(value)).collect();
        let expected = squared_distance(&row, reference.mean()) + reference.trace();
        assert!((found - expected).abs() < 1e-13, "{found} and {expected}");
    }
}
