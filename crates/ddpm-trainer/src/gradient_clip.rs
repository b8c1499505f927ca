//! Clipping gradients by their global norm (the article's tip 4).

use std::collections::BTreeMap;

use candle_core::Result;
use ddpm_ops::Gradient;

/// The Euclidean norm of all gradients together, summed in name order, in f64.
///
/// # Errors
/// When a gradient is not of a floating type.
pub fn global_norm(gradients: &BTreeMap<String, Gradient>) -> Result<f64> {
    let squares = ddpm_ops::sums_of_squares(&gradients.values().collect::<Vec<_>>())?;
    Ok(squares.iter().sum::<f64>().sqrt())
}

/// What to multiply gradients of that global norm by so that it is at most `max_norm`: 1 where it is already, or where
/// there is no limit. As PyTorch's `clip_grad_norm_`, with its 1e-6 in the denominator.
pub fn clip_scale(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0))
}
