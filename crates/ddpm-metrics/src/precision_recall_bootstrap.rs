//! Bootstrap intervals of precision and recall.

use crate::bootstrap::{BootstrapConfig, BootstrapInterval};
use crate::error::Result;
use crate::features::Features;
use crate::precision_recall::Coverage;
use crate::random_rows::RandomRows;

/// Intervals of precision and recall.
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct PrecisionRecallIntervals {
    /// The interval of precision, over the generated samples.
    pub precision: BootstrapInterval,
    /// The interval of recall, over the references.
    pub recall: BootstrapInterval,
}

/// [`precision_recall`](crate::precision_recall()) with bootstrap intervals.
///
/// Only the samples whose share is counted are resampled: the generated ones for precision, the references for recall.
/// The manifolds stay as they are, because the balls of a resample with repeated samples would be too small. The
/// interval therefore leaves out how the manifolds vary. Resamples cost almost nothing.
///
/// # Errors
/// Those of [`precision_recall`](crate::precision_recall()), and
/// [`MetricsError::Parameter`](crate::MetricsError::Parameter) for parameters of the bootstrap.
pub fn precision_recall_bootstrap(
    generated: &Features,
    references: &Features,
    neighbors: usize,
    config: &BootstrapConfig,
) -> Result<PrecisionRecallIntervals> {
    config.check()?;
    let coverage = Coverage::new(generated, references, neighbors)?;
    let precision = interval(&coverage.generated, config, 0);
    let recall = interval(&coverage.references, config, 1);
    Ok(PrecisionRecallIntervals { precision, recall })
}

/// The interval of the share of true flags.
fn interval(flags: &[bool], config: &BootstrapConfig, set: u64) -> BootstrapInterval {
    let share = |weights: &[f64]| {
        let covered = flags.iter().zip(weights).filter(|(flag, _)| **flag);
        covered.map(|(_, weight)| weight).sum::<f64>() / flags.len() as f64
    };
    let of_resample = |i: usize| share(&RandomRows::new(config.seed, 2 * i as u64 + set).resample(flags.len()));
    let values = (0..config.resamples).map(of_resample).collect();
    BootstrapInterval::new(share(&vec![1.0; flags.len()]), values, config)
}
