//! A bootstrap interval of the Inception Score.

use crate::blocks::blocks;
use crate::bootstrap::{BootstrapConfig, BootstrapInterval};
use crate::error::Result;
use crate::features::Features;
use crate::inception_score::{InceptionScoreConfig, inception_score, score, softmax, split_samples};
use crate::linear_algebra::transposed_product;
use crate::random_rows::RandomRows;

/// The number of samples whose probabilities are held at a time.
const ROWS: usize = 512;

/// The Inception Score of logits [samples, classes] with a bootstrap interval over the samples of each split.
///
/// Cost: samples · classes · resamples multiplications, about 10 s on one core for 50,000 samples, 1,000 classes and
/// 1,000 resamples.
///
/// # Errors
/// Those of [`inception_score`], and [`MetricsError::Parameter`](crate::MetricsError::Parameter) for parameters of the
/// bootstrap.
pub fn inception_score_bootstrap(
    logits: &Features,
    scores: &InceptionScoreConfig,
    config: &BootstrapConfig,
) -> Result<BootstrapInterval> {
    config.check()?;
    let estimate = inception_score(logits, scores)?.mean;
    let splits = split_samples(logits.rows(), scores)?;
    let mut values = vec![0.0; config.resamples];
    for (i, samples) in splits.iter().enumerate() {
        let of_split = resampled_scores(logits, samples, config, i);
        values.iter_mut().zip(of_split).for_each(|(value, score)| *value += score / splits.len() as f64);
    }
    Ok(BootstrapInterval::new(estimate, values, config))
}

/// The score of each resample of one split.
fn resampled_scores(logits: &Features, samples: &[usize], config: &BootstrapConfig, split: usize) -> Vec<f64> {
    let (resamples, classes) = (config.resamples, logits.width());
    let stream = |i: usize| (split * resamples + i) as u64;
    let counts: Vec<Vec<f64>> =
        (0..resamples).map(|i| RandomRows::new(config.seed, stream(i)).resample(samples.len())).collect();
    let (mut averages, mut negative_entropies) = (vec![0.0; resamples * classes], vec![0.0; resamples]);
    for rows in blocks(samples.len(), ROWS) {
        let (mut probabilities, mut terms) = (Vec::new(), Vec::new());
        for &sample in &samples[rows.clone()] {
            let (p, term) = softmax(logits.row(sample));
            probabilities.extend(p);
            terms.push(term);
        }
        let weights: Vec<f64> = rows.clone().flat_map(|row| counts.iter().map(move |counts| counts[row])).collect();
        let sums = transposed_product(&weights, &probabilities, rows.len());
        averages.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
        let sums = transposed_product(&weights, &terms, rows.len());
        negative_entropies.iter_mut().zip(sums).for_each(|(total, sum)| *total += sum);
    }
    let averages = averages.chunks_exact(classes);
    averages.zip(negative_entropies).map(|(average, term)| score(term, average, samples.len() as f64)).collect()
}
