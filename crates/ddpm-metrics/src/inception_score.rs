//! The Inception Score.

use rayon::prelude::*;

use crate::error::{Result, check_parameter, check_samples};
use crate::features::Features;
use crate::mean_and_deviation::mean_and_deviation;
use crate::random_rows::RandomRows;

/// The order in which samples are divided into splits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum SampleOrder {
    /// As given.
    Given,
    /// Shuffled with a seed, for samples that are sorted by class.
    Shuffled {
        /// The seed of the permutation.
        seed: u64,
    },
}

/// The parameters of the Inception Score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InceptionScoreConfig {
    /// The number of splits, from 1 to the number of samples.
    pub splits: usize,
    /// The order of the samples.
    pub order: SampleOrder,
}

impl InceptionScoreConfig {
    /// Ten splits of the samples in the given order, as in Salimans et al. 2016.
    pub const fn ten_splits() -> Self {
        Self { splits: 10, order: SampleOrder::Given }
    }
}

/// An Inception Score.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct InceptionScore {
    /// The mean over the splits, from 1 to the number of classes.
    pub mean: f64,
    /// The standard deviation over the splits (divisor `splits`).
    pub standard_deviation: f64,
    /// The number of splits.
    pub splits: usize,
}

/// The Inception Score of class logits [samples, classes]:
///
/// IS = exp(mean over x of KL(p(y | x) ‖ p(y))), where p(y | x) is the softmax of the logits and p(y) its mean
///
/// ([Salimans et al. 2016](https://arxiv.org/abs/1606.03498), section 4). Split i of s has the samples from i n / s to
/// (i + 1) n / s, as in torch-fidelity.
///
/// KL is computed as Σ p ln p − Σ q ln q with 0 ln 0 = 0. It is therefore finite where probabilities underflow.
///
/// # Errors
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) for no splits;
/// [`MetricsError::TooFewSamples`](crate::MetricsError::TooFewSamples) for fewer samples than splits.
///
/// # Examples
/// ```
/// use ddpm_metrics::{Features, InceptionScoreConfig, SampleOrder, inception_score};
///
/// // Two classes, each predicted with certainty as often as the other.
/// let logits = Features::new(vec![100.0, 0.0, 0.0, 100.0], 2)?;
/// let config = InceptionScoreConfig { splits: 1, order: SampleOrder::Given };
/// assert!((inception_score(&logits, &config)?.mean - 2.0).abs() < 1e-12);
///
/// let error = inception_score(&logits, &InceptionScoreConfig::ten_splits()).unwrap_err();
/// assert_eq!(error.to_string(), "the splits of the Inception Score: found 2 samples, expected at least 10");
/// # Ok::<(), ddpm_metrics::MetricsError>(())
/// ```
pub fn inception_score(logits: &Features, config: &InceptionScoreConfig) -> Result<InceptionScore> {
    let splits = split_samples(logits.rows(), config)?;
    let score = |samples: &Vec<usize>| {
        let mut average = vec![0.0; logits.width()];
        let mut negative_entropy = 0.0;
        for &sample in samples {
            let (probabilities, term) = softmax(logits.row(sample));
            average.iter_mut().zip(&probabilities).for_each(|(sum, p)| *sum += p);
            negative_entropy += term;
        }
        score(negative_entropy, &average, samples.len() as f64)
    };
    let scores: Vec<f64> = splits.par_iter().map(score).collect();
    let (mean, standard_deviation) = mean_and_deviation(&scores);
    Ok(InceptionScore { mean, standard_deviation, splits: config.splits })
}

/// The indices of the samples of each split.
pub(crate) fn split_samples(samples: usize, config: &InceptionScoreConfig) -> Result<Vec<Vec<usize>>> {
    let splits = config.splits;
    check_parameter(splits >= 1, "the number of splits", splits as f64, "at least 1")?;
    check_samples("the splits of the Inception Score", samples, splits)?;
    let order: Vec<usize> = match config.order {
        SampleOrder::Given => (0..samples).collect(),
        SampleOrder::Shuffled { seed } => RandomRows::new(seed, 0).subset(samples, samples),
    };
    // In u128, because the products of large numbers overflow.
    let bound = |i: usize| (i as u128 * samples as u128 / splits as u128) as usize;
    Ok((0..splits).map(|i| order[bound(i)..bound(i + 1)].to_vec()).collect())
}

/// The softmax p of logits, and Σ p ln p.
pub(crate) fn softmax(logits: &[f32]) -> (Vec<f64>, f64) {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |largest, &logit| largest.max(logit));
    let shifted = logits.iter().map(|&logit| f64::from(logit) - f64::from(largest));
    let normalizer = shifted.clone().map(f64::exp).sum::<f64>().ln();
    let log_probabilities = shifted.map(|logit| logit - normalizer);
    let mut negative_entropy = 0.0;
    let probabilities = log_probabilities
        .map(|log_p| {
            let p = log_p.exp();
            negative_entropy += p * log_p;
            p
        })
        .collect();
    (probabilities, negative_entropy)
}

/// exp(KL) from the sums over `count` samples of Σ p ln p and of p.
pub(crate) fn score(negative_entropy: f64, probabilities: &[f64], count: f64) -> f64 {
    let average = probabilities.iter().map(|sum| sum / count).filter(|&q| q > 0.0);
    let kl = negative_entropy / count - average.map(|q| q * q.ln()).sum::<f64>();
    // KL is at least 0; rounding can make it negative where all predictions are equal.
    kl.max(0.0).exp()
}
