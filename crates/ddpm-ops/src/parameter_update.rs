//! Updates of parameters in place: Adam, exponential moving averages, and the norms of gradients.

use candle_core::{Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::backend::update::{AdamStep, AdamUpdate};
use crate::dispatch;
use crate::tape::gradient::Gradient;

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2) for every
/// parameter, in place and in one pass over the memory: m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − lr (m /
/// (1 − β₁ᵏ)) / (√(v / (1 − β₂ᵏ)) + ε).
///
/// # Shapes
/// All four tensors of an update have one shape.
///
/// # Errors
/// When the shapes differ.
pub fn adam_step(updates: &[AdamUpdate<'_>], step: AdamStep) -> Result<()> {
    updates.par_iter().try_for_each(|update| {
        let AdamUpdate { parameter, moment1, moment2, gradient } = update;
        for (name, dims) in [("first moment", moment1.dims()), ("second moment", moment2.dims())] {
            if dims != parameter.dims() {
                bail!("adam_step: a parameter of shape {:?} and a {name} of shape {dims:?}", parameter.dims());
            }
        }
        if gradient.elem_count() != parameter.elem_count() {
            let found = gradient.elem_count();
            bail!("adam_step: a parameter of shape {:?} and a gradient of {found} elements", parameter.dims());
        }
        dispatch::update_backend(&[parameter, moment1, moment2]).adam_step(update, &step)
    })
}

/// average ← decay · average + (1 − decay) · value, in place, for every pair (average, value).
///
/// # Shapes
/// Both tensors of a pair have one shape.
///
/// # Errors
/// When the shapes differ.
pub fn ema_step(pairs: &[(&Var, &Tensor)], decay: f64) -> Result<()> {
    pairs.par_iter().try_for_each(|(average, value)| {
        if average.dims() != value.dims() {
            bail!("ema_step: an average of shape {:?} and a value of shape {:?}", average.dims(), value.dims());
        }
        dispatch::update_backend(&[average, value]).ema_step(average, value, decay)
    })
}

/// Σ x² over the elements of each gradient. On the CPU the sums are f64.
///
/// # Errors
/// When a gradient does not have a floating-point type.
pub fn sums_of_squares(gradients: &[&Gradient]) -> Result<Vec<f64>> {
    gradients.par_iter().map(|gradient| dispatch::gradient_backend(gradient).sum_of_squares(gradient)).collect()
}
