//! Group normalization.

use candle_core::{Result, Tensor, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{Norm, Tape, Value};

/// Group normalization (Wu and He 2018) with a learned scale and shift for each channel.
///
/// Parameters: `weight` `[channels]`, initially ones, and `bias` `[channels]`, initially zeros.
#[derive(Debug, Clone)]
pub struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// Normalization of `channels` channels in `groups` groups; `eps` is added to the variance.
    ///
    /// # Errors
    /// When `channels` is not a multiple of `groups`, or when `vb` cannot provide the parameters.
    pub fn new(groups: usize, channels: usize, eps: f64, vb: VarBuilder<'_>) -> Result<Self> {
        if groups == 0 || !channels.is_multiple_of(groups) {
            bail!("group norm: expected a number of groups that divides {channels} channels, found {groups}");
        }
        let weight = vb.get_with_hints(channels, "weight", candle_nn::init::ONE)?;
        Ok(Self { weight, bias: vb.get_with_hints(channels, "bias", candle_nn::init::ZERO)?, groups, eps })
    }

    /// norm(x), of the shape of `x`, [batch, channels, height, width].
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.group_norm(x, self.groups, &self.weight, &self.bias, self.eps, false)
    }

    /// silu(norm(x)) in one operation.
    ///
    /// # Errors
    /// Those of [`GroupNorm::forward`].
    pub fn forward_silu(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.group_norm(x, self.groups, &self.weight, &self.bias, self.eps, true)
    }

    /// This normalization, followed by SiLU, as the `norm` of a [`ddpm_ops::FusedConv2d`].
    pub fn as_fused(&self) -> Norm<'_> {
        Norm { groups: self.groups, weight: &self.weight, bias: &self.bias, eps: self.eps }
    }
}
