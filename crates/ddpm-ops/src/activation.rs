//! Activation functions.

use candle_core::{Result, Tensor};

/// SiLU, x ↦ x σ(x), of every element.
///
/// # Errors
/// When `x` is not of a floating type.
pub fn silu(x: &Tensor) -> Result<Tensor> {
    x.silu()
}

/// GELU in its exact form, x ↦ x Φ(x) with the normal distribution function Φ, of every element.
///
/// # Errors
/// When `x` is not of a floating type.
pub fn gelu(x: &Tensor) -> Result<Tensor> {
    x.gelu_erf()
}
