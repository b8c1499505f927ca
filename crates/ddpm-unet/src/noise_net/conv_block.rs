//! Convolution, group normalization and SiLU.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Tape, Value};

use super::config::NORM_EPS;
use crate::layers::{Conv2d, GroupNorm};

/// silu(norm(conv(x))) with a 3 × 3 convolution, the article's `ConvBlock`.
#[derive(Debug, Clone)]
pub struct ConvBlock {
    conv: Conv2d,
    norm: GroupNorm,
}

impl ConvBlock {
    /// A block whose normalization has `norm_groups` groups.
    ///
    /// # Errors
    /// When `channels_out` is not a multiple of `norm_groups`, or when `vb` cannot provide the parameters.
    pub fn new(channels_in: usize, channels_out: usize, norm_groups: usize, vb: VarBuilder<'_>) -> Result<Self> {
        let conv = Conv2d::new(channels_in, channels_out, 3, vb.pp("conv"))?;
        Ok(Self { conv, norm: GroupNorm::new(norm_groups, channels_out, NORM_EPS, vb.pp("norm"))? })
    }

    /// The block as a fused operation, to which a skip connection, a time bias or a residual can be added.
    pub fn fused<'a>(&'a self, x: &'a Value) -> FusedConv2d<'a> {
        FusedConv2d { norm: Some(self.norm.as_fused()), ..self.conv.fused(x) }
    }

    /// The block alone: [batch, channels_in, height, width] to [batch, channels_out, height, width].
    ///
    /// # Errors
    /// When the shape of `x` does not fit.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.conv2d(&self.fused(x))
    }
}
