//! Clipping gradients by their global norm (tip 4 of the article).

use std::collections::BTreeMap;

use candle_core::Result;
use ddpm_ops::Gradient;

/// The Euclidean norm of all gradients together, summed in the order of their names, in f64.
///
/// # Errors
/// When a gradient does not have a floating-point dtype.
pub fn global_norm(gradients: &BTreeMap<String, Gradient>) -> Result<f64> {
    let squares = ddpm_ops::sums_of_squares(&gradients.values().collect::<Vec<_>>())?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// The factor, at most 1, that reduces a global norm of `norm` to `max_norm`; 1 if the norm is smaller or there is no
/// limit.
///
/// It is the factor of PyTorch's `clip_grad_norm_`, which adds 1e-6 to the norm.
pub fn clip_scale(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0))
}
