//! The Fréchet distance extrapolated to infinitely many samples.

use rayon::prelude::*;

use crate::error::{Result, check_parameter, check_samples};
use crate::feature_statistics::FeatureStatistics;
use crate::features::Features;
use crate::projected_samples::ProjectedSamples;
use crate::random_rows::RandomRows;

/// The parameters of the extrapolation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct ExtrapolationConfig {
    /// The number of subset sizes, at least 2, evenly spaced from `smallest` to the number of samples.
    pub points: usize,
    /// The smallest subset, at least 2 samples and fewer than there are.
    pub smallest: usize,
    /// The seed of the subsets.
    pub seed: u64,
}

impl ExtrapolationConfig {
    /// Fifteen sizes from 5,000 samples, as in Chong & Forsyth 2020, who use 50,000 samples.
    pub const fn chong_forsyth(seed: u64) -> Self {
        Self { points: 15, smallest: 5000, seed }
    }
}

/// Fréchet distances of subsets, and the line through them.
#[derive(Debug, Clone, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct FrechetExtrapolation {
    /// FID_∞, the value of the line at 1 / n = 0.
    pub at_infinity: f64,
    /// The slope of the line: the bias of FID with n samples is about `slope` / n.
    pub slope: f64,
    /// The sizes n of the subsets, increasing.
    pub sizes: Vec<usize>,
    /// The Fréchet distance of each subset.
    pub distances: Vec<f64>,
}

/// FID_∞ of samples [n, width]: the intercept of a least-squares line through the Fréchet distances of random subsets
/// over 1 / size ([Chong & Forsyth 2020](https://arxiv.org/abs/1911.07023)).
///
/// The expected FID of n samples is about FID_∞ + `slope` / n, so values of different n can only be compared after this
/// correction. The bias of the reference's own samples remains.
///
/// The cost is that of `points` resamples of
/// [`frechet_distance_bootstrap`](crate::frechet_distance_bootstrap()), at most.
///
/// # Errors
/// Those of [`frechet_distance`](crate::frechet_distance());
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) for fewer than 2 points or a smallest subset below 2;
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) unless there are more samples than in the
/// smallest subset.
pub fn extrapolate_frechet_distance(
    features: &Features,
    reference: &FeatureStatistics,
    config: &ExtrapolationConfig,
) -> Result<FrechetExtrapolation> {
    let ExtrapolationConfig { points, smallest, seed } = *config;
    check_parameter(points >= 2, "the number of subset sizes", points as f64, "at least 2")?;
    check_parameter(smallest >= 2, "the smallest subset", smallest as f64, "at least 2")?;
    let rows = features.rows();
    check_samples("the extrapolation of FID", rows, smallest.saturating_add(1))?;
    let samples = ProjectedSamples::new(features, reference)?;
    let step = (rows - smallest) as f64 / (points - 1) as f64;
    let sizes: Vec<usize> = (0..points).map(|i| smallest + (i as f64 * step).round() as usize).collect();
    let of_subset = |(i, &size): (usize, &usize)| {
        let mut weights = vec![0.0; rows];
        RandomRows::new(seed, i as u64).subset(rows, size).into_iter().for_each(|row| weights[row] = 1.0);
        samples.distance(&weights)
    };
    let distances = sizes.par_iter().enumerate().map(of_subset).collect::<Result<Vec<f64>>>()?;
    let inverse: Vec<f64> = sizes.iter().map(|&size| 1.0 / size as f64).collect();
    let (at_infinity, slope) = least_squares_line(&inverse, &distances);
    Ok(FrechetExtrapolation { at_infinity, slope, sizes, distances })
}

/// The intercept and the slope of the line with the least squared errors. The x are not all equal.
fn least_squares_line(x: &[f64], y: &[f64]) -> (f64, f64) {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let (x_mean, y_mean) = (mean(x), mean(y));
    let covariance: f64 = x.iter().zip(y).map(|(x, y)| (x - x_mean) * (y - y_mean)).sum();
    let slope = covariance / x.iter().map(|x| (x - x_mean).powi(2)).sum::<f64>();
    (y_mean - slope * x_mean, slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_as_numpy_polyfit() {
        // numpy.polyfit([1, 2, 4], [1, 3, 4], 1) is [0.92857143, 0.5].
        let (intercept, slope) = least_squares_line(&[1.0, 2.0, 4.0], &[1.0, 3.0, 4.0]);
        assert!((intercept - 0.5).abs() < 1e-12 && (slope - 13.0 / 14.0).abs() < 1e-12, "{intercept} {slope}");
    }
}
