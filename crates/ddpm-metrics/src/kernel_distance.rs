//! The kernel distance KID.

use rayon::prelude::*;

use crate::error::{Result, check_parameter, check_samples, check_widths};
use crate::features::Features;
use crate::mean_and_deviation::mean_and_deviation;
use crate::polynomial_kernel::{PolynomialKernel, Weighted};
use crate::random_rows::RandomRows;

/// The subsets over which KID is averaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum KernelSubsets {
    /// One subset of all samples. The two sets may have different sizes.
    All,
    /// Random subsets, drawn without replacement and independently of each other.
    Random {
        /// The number of subsets, at least 1.
        count: usize,
        /// The number of samples of each set in a subset, at least 2.
        size: usize,
        /// The seed of the draws.
        seed: u64,
    },
}

/// The parameters of KID.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KernelDistanceConfig {
    /// The kernel.
    pub kernel: PolynomialKernel,
    /// The subsets.
    pub subsets: KernelSubsets,
}

impl KernelDistanceConfig {
    /// The cubic kernel and 100 subsets of 1,000 samples, the defaults of torch-fidelity.
    ///
    /// DIFFERENCE: torch-fidelity draws the subsets by NumPy's generator, so its mean differs by the random error of
    /// 100 subsets. With [`KernelSubsets::All`] the results are equal.
    pub const fn torch_fidelity(seed: u64) -> Self {
        let subsets = KernelSubsets::Random { count: 100, size: 1000, seed };
        Self { kernel: PolynomialKernel::cubic(), subsets }
    }

    /// The cubic kernel and all samples at once.
    pub const fn all_samples() -> Self {
        Self { kernel: PolynomialKernel::cubic(), subsets: KernelSubsets::All }
    }
}

/// A kernel distance: KID, if the features are those of Inception-v3. It has no bias, so it may be negative.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct KernelDistance {
    /// The mean over the subsets.
    pub mean: f64,
    /// The standard deviation over the subsets (divisor `subsets`), 0 for one subset.
    pub standard_deviation: f64,
    /// The number of subsets.
    pub subsets: usize,
}

/// The unbiased squared maximum mean discrepancy of two sets x and y of m and n samples, averaged over subsets:
///
/// MMD² = Σ_{i≠j} k(x_i, x_j) / (m (m − 1)) + Σ_{i≠j} k(y_i, y_j) / (n (n − 1)) − 2 Σ_ij k(x_i, y_j) / (m n)
///
/// ([Bińkowski et al. 2018](https://arxiv.org/abs/1801.01401), section 4, after
/// [Gretton et al. 2012](https://jmlr.org/papers/v13/gretton12a.html), eq. 3).
///
/// # Errors
/// [`MetricsError::Widths`](crate::MetricsError::Widths);
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for a set smaller than a subset or than 2;
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) for a subset of fewer than 2 samples, no subsets, or a
/// kernel parameter out of its range.
///
/// # Examples
/// ```
/// use ddpm_metrics::{Features, KernelDistanceConfig, kernel_distance};
///
/// let zeros = Features::new(vec![0.0; 4], 1)?;
/// let ones = Features::new(vec![1.0; 3], 1)?;
/// // 1³ + 2³ − 2 · 1³.
/// let distance = kernel_distance(&zeros, &ones, &KernelDistanceConfig::all_samples())?;
/// assert!((distance.mean - 7.0).abs() < 1e-12);
///
/// let error = kernel_distance(&zeros, &ones, &KernelDistanceConfig::torch_fidelity(0)).unwrap_err();
/// assert_eq!(error.to_string(), "a subset of KID: found 3 samples, expected at least 1000");
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn kernel_distance(first: &Features, second: &Features, config: &KernelDistanceConfig) -> Result<KernelDistance> {
    check_widths(first.width(), second.width())?;
    config.kernel.check()?;
    let smaller = first.rows().min(second.rows());
    match config.subsets {
        KernelSubsets::All => {
            check_samples("KID", smaller, 2)?;
            let mean = squared_mmd(first, second, &config.kernel);
            Ok(KernelDistance { mean, standard_deviation: 0.0, subsets: 1 })
        }
        KernelSubsets::Random { count, size, seed } => {
            check_parameter(count >= 1, "the number of subsets", count as f64, "at least 1")?;
            check_parameter(size >= 2, "the size of a subset", size as f64, "at least 2")?;
            check_samples("a subset of KID", smaller, size)?;
            let of_subset = |i: usize| {
                let mut draws = RandomRows::new(seed, i as u64);
                let x = first.select(&draws.subset(first.rows(), size))?;
                let y = second.select(&draws.subset(second.rows(), size))?;
                Ok(squared_mmd(&x, &y, &config.kernel))
            };
            let values = (0..count).into_par_iter().map(of_subset).collect::<Result<Vec<f64>>>()?;
            let (mean, standard_deviation) = mean_and_deviation(&values);
            Ok(KernelDistance { mean, standard_deviation, subsets: count })
        }
    }
}

/// MMD² of two sets of at least two samples.
fn squared_mmd(x: &Features, y: &Features, kernel: &PolynomialKernel) -> f64 {
    let (ones_x, ones_y) = (vec![1.0; x.rows()], vec![1.0; y.rows()]);
    squared_mmds(Weighted { features: x, weights: &ones_x }, Weighted { features: y, weights: &ones_y }, kernel)[0]
}

/// MMD² for each column of the weights. Pairs of a row with itself are left out, also where its weight is above 1:
/// with weights v, Σ_{i≠j} v_i v_j k(x_i, x_j) / Σ_{i≠j} v_i v_j.
pub(crate) fn squared_mmds(x: Weighted<'_>, y: Weighted<'_>, kernel: &PolynomialKernel) -> Vec<f64> {
    let columns = x.weights.len() / x.features.rows();
    let (xx, yy) = (kernel.weighted_sums(x, x, true), kernel.weighted_sums(y, y, true));
    let xy = kernel.weighted_sums(x, y, false);
    let sums = |weights: &[f64], column: usize| {
        let of_column = weights.iter().skip(column).step_by(columns);
        of_column.fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w))
    };
    (0..columns)
        .map(|column| {
            let ((m, m_squares), (n, n_squares)) = (sums(x.weights, column), sums(y.weights, column));
            xx[column] / (m * m - m_squares) + yy[column] / (n * n - n_squares) - 2.0 * xy[column] / (m * n)
        })
        .collect()
}
