//! The metrics of features: Fréchet distance, kernel distance, Inception Score, precision and recall.

use ddpm_metrics::{
    BootstrapConfig, BootstrapInterval, ExtrapolationConfig, FeatureStatistics, FrechetDistance, InceptionScore,
    InceptionScoreConfig, KernelDistance, KernelDistanceConfig, KernelSubsets, PolynomialKernel,
    PrecisionRecallIntervals, extrapolate_frechet_distance, frechet_distance, frechet_distance_bootstrap,
    inception_score, kernel_distance, precision_recall_bootstrap,
};
use serde::{Deserialize, Serialize};

use crate::image_features::ImageFeatures;

/// The parameters of the metrics, which are a part of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct MetricParameters {
    /// The level and the number of the resamples of confidence intervals.
    pub(crate) level: f64,
    pub(crate) resamples: usize,
    /// The subsets of KID.
    pub(crate) kid_subsets: usize,
    pub(crate) kid_subset_size: usize,
    /// k of precision and recall.
    pub(crate) neighbors: usize,
    /// The splits of the Inception Score.
    pub(crate) splits: usize,
    pub(crate) seed: u64,
}

impl MetricParameters {
    /// The usual parameters for sets of `samples` and `references` images.
    pub(crate) fn new(samples: usize, references: usize, resamples: usize, seed: u64) -> Self {
        Self {
            level: 0.95,
            resamples,
            kid_subsets: 100,
            kid_subset_size: 1000.min(samples).min(references),
            neighbors: 3,
            splits: 10.min(samples),
            seed,
        }
    }

    fn bootstrap(&self) -> BootstrapConfig {
        BootstrapConfig { resamples: self.resamples, level: self.level, seed: self.seed }
    }
}

/// A Fréchet distance with its random error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frechet {
    /// FID, FD-DINOv2 or FD-EfficientNet-Lite0.
    pub(crate) name: String,
    pub(crate) distance: FrechetDistance,
    /// The confidence interval over the samples, corrected for the bias of resamples; None without resamples.
    pub(crate) interval: Option<[f64; 2]>,
    pub(crate) bootstrap: Option<BootstrapInterval>,
    /// The value for infinitely many samples; None for fewer than 200.
    pub(crate) at_infinity: Option<f64>,
}

/// Number of samples from which the distance is extrapolated.
const MIN_EXTRAPOLATED: usize = 200;

pub(crate) fn frechet(
    name: String,
    samples: &ImageFeatures,
    reference: &FeatureStatistics,
    parameters: &MetricParameters,
) -> anyhow::Result<Frechet> {
    let distance = frechet_distance(&FeatureStatistics::of(&samples.features)?, reference)?;
    if !distance.distance.is_finite() {
        anyhow::bail!("the Fréchet distance is not finite: expected statistics with smaller values to compare with");
    }
    let bootstrap = match parameters.resamples {
        0 | 1 => None,
        _ => Some(frechet_distance_bootstrap(&samples.features, reference, &parameters.bootstrap())?),
    };
    let rows = samples.features.rows();
    let config = ExtrapolationConfig { points: 8, smallest: rows / 4, seed: parameters.seed };
    let extrapolated = (rows >= MIN_EXTRAPOLATED)
        .then(|| extrapolate_frechet_distance(&samples.features, reference, &config))
        .transpose()?;
    Ok(Frechet {
        name,
        distance,
        interval: bootstrap.map(|bootstrap| {
            let (low, high) = bootstrap.without_bias();
            [low, high]
        }),
        bootstrap,
        at_infinity: extrapolated.map(|extrapolated| extrapolated.at_infinity),
    })
}

pub(crate) fn kid(
    samples: &ImageFeatures,
    references: &ImageFeatures,
    parameters: &MetricParameters,
) -> anyhow::Result<KernelDistance> {
    let MetricParameters { kid_subsets: count, kid_subset_size: size, seed, .. } = *parameters;
    let subsets = KernelSubsets::Random { count, size, seed };
    let config = KernelDistanceConfig { kernel: PolynomialKernel::cubic(), subsets };
    Ok(kernel_distance(&samples.features, &references.features, &config)?)
}

/// None for a network without a classifier.
pub(crate) fn score(samples: &ImageFeatures, parameters: &MetricParameters) -> anyhow::Result<Option<InceptionScore>> {
    let config = InceptionScoreConfig { splits: parameters.splits, ..InceptionScoreConfig::ten_splits() };
    Ok(samples.logits.as_ref().map(|logits| inception_score(logits, &config)).transpose()?)
}

pub(crate) fn precision_recall(
    samples: &ImageFeatures,
    references: &ImageFeatures,
    parameters: &MetricParameters,
) -> anyhow::Result<PrecisionRecallIntervals> {
    let config = BootstrapConfig { resamples: parameters.resamples.max(2), ..parameters.bootstrap() };
    Ok(precision_recall_bootstrap(&samples.features, &references.features, parameters.neighbors, &config)?)
}
