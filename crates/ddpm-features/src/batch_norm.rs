//! Batch normalization with fixed statistics as a part of the convolution before it.

use crate::error::Result;
use crate::weights::Weights;

/// The additional factor and bias of each channel: γ / √(σ² + ε) and β − μ γ / √(σ² + ε) (Ioffe & Szegedy 2015, alg.
/// 2).
pub(crate) fn batch_norm_factors(
    weights: &Weights<'_>,
    name: &str,
    channels: usize,
    eps: f64,
) -> Result<Vec<(f64, f64)>> {
    let values = |part: &str| weights.values(&format!("{name}.{part}"), &[channels]);
    let (gamma, beta) = (values("weight")?, values("bias")?);
    let (mean, variance) = (values("running_mean")?, values("running_var")?);
    let factor = |i: usize| {
        let scale = f64::from(gamma[i]) / (f64::from(variance[i]) + eps).sqrt();
        (scale, f64::from(beta[i]) - f64::from(mean[i]) * scale)
    };
    Ok((0..channels).map(factor).collect())
}
