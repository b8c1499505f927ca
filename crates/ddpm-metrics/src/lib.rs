//! Metrics of generative models on features, in f64.
//!
//! The crate compares sets of features: Fréchet distance (FID), kernel distance (KID), Inception Score, precision and
//! recall, and tests for copies of training images. Features are plain numbers, one row per image; the crate contains
//! no network and reads no images. Any extractor will do, and the metric is as good as its features.
//!
//! Results depend on the arguments alone: draws are seeded, and sums have the same order with any number of threads.
//!
//! # Reading order
//! [`Features`] holds rows. [`StatisticsAccumulator`] sums them up to [`FeatureStatistics`], which
//! [`read_statistics`] and [`write_statistics`] exchange with other tools. [`frechet_distance()`],
//! [`kernel_distance()`], [`inception_score()`] and [`precision_recall()`] are the metrics. Each has an interval of
//! random error, such as [`frechet_distance_bootstrap`], and [`extrapolate_frechet_distance`] removes the bias of FID.
//! [`nearest_neighbors()`], [`nearest_to_second_ratio`] and [`data_copying()`] look for memorized images.
//!
//! # Examples
//! ```
//! use ddpm_metrics::{FeatureStatistics, Features, MetricsError, frechet_distance};
//!
//! # fn main() -> Result<(), MetricsError> {
//! let generated = Features::from_rows(&[[0.0, 1.0], [1.0, 0.0], [2.0, 2.0]])?;
//! let references = Features::from_rows(&[[1.0, 1.0], [2.0, 0.0], [3.0, 2.0]])?;
//! let (a, b) = (FeatureStatistics::of(&generated)?, FeatureStatistics::of(&references)?);
//! // The second set is the first, shifted by 1 in the first value.
//! assert!((frechet_distance(&a, &b)?.distance - 1.0).abs() < 1e-12);
//!
//! // A single row has no covariance.
//! let error = FeatureStatistics::of(&Features::new(vec![1.0, 2.0], 2)?).unwrap_err();
//! assert_eq!(error.to_string(), "a covariance: found 1 samples, expected at least 2");
//! # Ok(())
//! # }
//! ```

mod blocks;
mod bootstrap;
mod covariance_factor;
mod data_copying;
mod distance_ratio;
mod error;
mod feature_statistics;
mod features;
mod frechet_bootstrap;
mod frechet_distance;
mod frechet_extrapolation;
mod inception_score;
mod inception_score_bootstrap;
mod kernel_bootstrap;
mod kernel_distance;
mod linear_algebra;
mod mean_and_deviation;
mod nearest_neighbors;
mod npy_array;
mod polynomial_kernel;
mod precision_recall;
mod precision_recall_bootstrap;
mod projected_samples;
mod random_rows;
mod squared_distances;
mod statistics_accumulator;
mod statistics_file;

pub use bootstrap::{BootstrapConfig, BootstrapInterval};
pub use data_copying::{CellDistances, DataCopying, data_copying, data_copying_over_cells};
pub use distance_ratio::{COPY_RATIO, nearest_to_mean_ratio, nearest_to_second_ratio};
pub use error::MetricsError;
pub use feature_statistics::FeatureStatistics;
pub use features::Features;
pub use frechet_bootstrap::frechet_distance_bootstrap;
pub use frechet_distance::{FrechetDistance, frechet_distance};
pub use frechet_extrapolation::{ExtrapolationConfig, FrechetExtrapolation, extrapolate_frechet_distance};
pub use inception_score::{InceptionScore, InceptionScoreConfig, SampleOrder, inception_score};
pub use inception_score_bootstrap::inception_score_bootstrap;
pub use kernel_bootstrap::kernel_distance_bootstrap;
pub use kernel_distance::{KernelDistance, KernelDistanceConfig, KernelSubsets, kernel_distance};
pub use nearest_neighbors::{NearestNeighbors, nearest_neighbors, nearest_neighbors_within};
pub use polynomial_kernel::PolynomialKernel;
pub use precision_recall::{PrecisionRecall, precision_recall};
pub use precision_recall_bootstrap::{PrecisionRecallIntervals, precision_recall_bootstrap};
pub use statistics_accumulator::StatisticsAccumulator;
pub use statistics_file::{read_spatial_statistics, read_statistics, write_statistics};

/// The example of the README, compiled and run as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
