//! The fully connected layer.

use candle_core::{Result, Tensor};

/// x Wᵀ + b.
///
/// # Shapes
/// `x` [batch, feature_in], `weight` [feature_out, feature_in], `bias` `[feature_out]`; the result is [batch, feature_out].
///
/// # Errors
/// When the shapes do not fit.
pub fn linear(x: &Tensor, weight: &Tensor, bias: &Tensor) -> Result<Tensor> {
    x.matmul(&weight.t()?)?.broadcast_add(bias)
}
