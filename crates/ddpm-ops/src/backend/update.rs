//! Descriptions of parameter updates, and the trait that carries them out.

use candle_core::{Result, Tensor, Var};

use crate::tape::gradient::Gradient;

/// The coefficients of one Adam step, computed by the caller in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε, added to the square root of the bias-corrected second moment.
    pub epsilon: f64,
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// 1 − β₁ᵏ at step k, counted from 1.
    pub bias_correction1: f64,
    /// 1 − β₂ᵏ at step k, counted from 1.
    pub bias_correction2: f64,
    /// Factor that multiplies the gradient first: below 1 if gradient clipping applies.
    pub gradient_scale: f64,
    /// λ of the L2 penalty of Adam, which adds λ θ to the gradient.
    pub coupled_weight_decay: f64,
    /// λ of the weight decay of AdamW, which subtracts lr λ θ from the parameter.
    pub decoupled_weight_decay: f64,
}

/// The tensors that one parameter's Adam step reads and writes, all of one shape.
#[derive(Debug, Clone, Copy)]
pub struct AdamUpdate<'a> {
    /// The parameter θ.
    pub parameter: &'a Var,
    /// The first moment m.
    pub moment1: &'a Var,
    /// The second moment v.
    pub moment2: &'a Var,
    /// The gradient g.
    pub gradient: &'a Gradient,
}

/// Carries out updates of parameters of one kind: f32 on the CPU, or any other tensor. Shapes have been checked.
pub(crate) trait UpdateBackend: Sync {
    /// [`crate::adam_step`] for one parameter.
    fn adam_step(&self, update: &AdamUpdate<'_>, step: &AdamStep) -> Result<()>;

    /// [`crate::ema_step`] for one pair.
    fn ema_step(&self, average: &Var, value: &Tensor, decay: f64) -> Result<()>;

    /// Σ x² over the elements of a gradient.
    fn sum_of_squares(&self, gradient: &Gradient) -> Result<f64>;

    /// [`crate::concatenate_gradients`] for gradients that this backend can read.
    fn concatenate(&self, gradients: &[&Gradient]) -> Result<Tensor>;
}
