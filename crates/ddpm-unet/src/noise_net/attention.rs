//! Self-attention with a joint projection to queries, keys and values.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Tape, Value};

use super::config::NORM_EPS;
use crate::layers::{Conv2d, GroupNorm};

/// The shape of a [`QkvAttention`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QkvAttentionConfig {
    /// Channels of the feature map.
    pub channels: usize,
    /// Number of heads.
    pub heads: usize,
    /// Channels of each head. `heads` × `head_channels` may differ from `channels`.
    pub head_channels: usize,
    /// Whether the input is added to the output.
    pub residual: bool,
}

/// Self-attention over the positions of a feature map, out(attention(qkv(norm(x)))), plus x if residual: the article's
/// `Attention`.
///
/// Unlike [`crate::unet2d::SelfAttention`], one convolution without bias projects to queries, keys and values, and the
/// normalization has one group.
#[derive(Debug, Clone)]
pub struct QkvAttention {
    norm: GroupNorm,
    to_qkv: Conv2d,
    to_out: Conv2d,
    heads: usize,
    residual: bool,
}

impl QkvAttention {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameters.
    pub fn new(config: &QkvAttentionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let QkvAttentionConfig { channels, heads, head_channels, residual } = *config;
        let hidden = heads * head_channels;
        Ok(Self {
            norm: GroupNorm::new(1, channels, NORM_EPS, vb.pp("norm"))?,
            to_qkv: Conv2d::without_bias(channels, 3 * hidden, 1, vb.pp("to_qkv"))?,
            to_out: Conv2d::new(hidden, channels, 1, vb.pp("to_out"))?,
            heads,
            residual,
        })
    }

    /// The block on `x`, of the shape of `x`, [batch, channels, height, width].
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        let (batch, _, height, width) = x.dims4()?;
        let qkv = self.to_qkv.forward(tape, &self.norm.forward(tape, x)?)?;
        let (_, channels, _, _) = qkv.dims4()?;
        let out = tape.attention(&qkv.reshape(&[batch, channels, height * width])?, self.heads)?;
        let out = out.reshape(&[batch, channels / 3, height, width])?;
        tape.conv2d(&FusedConv2d { residual: self.residual.then_some(x), ..self.to_out.fused(&out) })
    }
}
