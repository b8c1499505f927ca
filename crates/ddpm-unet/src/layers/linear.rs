//! Fully connected layer.

use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use ddpm_ops::{Tape, Value};

use super::fan_in_init::fan_in_init;

/// The linear layer x Wᵀ + b.
///
/// Parameters: `weight` [features_out, features_in] and `bias` `[features_out]`.
#[derive(Debug, Clone)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// A linear layer with a bias.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameters.
    pub fn new(features_in: usize, features_out: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let init = fan_in_init(features_in);
        let weight = vb.get_with_hints((features_out, features_in), "weight", init)?;
        Ok(Self { weight, bias: vb.get_with_hints(features_out, "bias", init)? })
    }

    /// [batch, features_in] to [batch, features_out].
    ///
    /// # Errors
    /// When the shape of `x` does not fit the weight.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.linear(x, &self.weight, &self.bias)
    }
}
