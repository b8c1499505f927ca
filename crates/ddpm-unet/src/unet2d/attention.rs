//! Self-attention with separate projections to queries, keys and values.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Tape, Value};

use super::output_scale::divide;
use crate::layers::{Conv2d, GroupNorm};

/// The shape and the options of a [`SelfAttention`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SelfAttentionConfig {
    /// Channels of the feature map.
    pub channels: usize,
    /// Channels of each head; None for a single head. The number of heads is `channels` / `head_channels`, rounded
    /// down, at least 1.
    pub head_channels: Option<usize>,
    /// Groups of the normalization, a divisor of `channels`; None for no normalization.
    pub norm_groups: Option<usize>,
    /// Added to the variance in the normalization.
    pub norm_eps: f64,
    /// The output is divided by this number.
    pub output_scale_factor: f64,
}

impl SelfAttentionConfig {
    /// The attention of Ho et al. 2020: one head, 32 groups, eps 1e-6.
    pub fn new(channels: usize) -> Self {
        Self { channels, head_channels: None, norm_groups: Some(32), norm_eps: 1e-6, output_scale_factor: 1.0 }
    }
}

/// x + out(attention(q(h), k(h), v(h))) with h = norm(x), over the positions of a feature map: the attention of Ho et
/// al. 2020, appendix B, and diffusers' `Attention`.
///
/// Unlike [`crate::noise_net::QkvAttention`], the projections are three linear layers with biases.
#[derive(Debug, Clone)]
pub struct SelfAttention {
    group_norm: Option<GroupNorm>,
    to_q: Conv2d,
    to_k: Conv2d,
    to_v: Conv2d,
    to_out: Conv2d,
    heads: usize,
    output_scale_factor: f64,
}

impl SelfAttention {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When `head_channels` is 0, when `channels` is not a multiple of the groups, or when `vb` cannot provide the
    /// parameters.
    pub fn new(config: &SelfAttentionConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let channels = config.channels;
        let head_channels = config.head_channels.unwrap_or(channels);
        if head_channels == 0 {
            bail!("attention: expected at least one channel per head, found 0");
        }
        // As in diffusers, the heads together may have fewer channels than the feature map.
        let heads = (channels / head_channels).max(1);
        let inner = heads * head_channels;
        let norm = |groups| GroupNorm::new(groups, channels, config.norm_eps, vb.pp("group_norm"));
        Ok(Self {
            group_norm: config.norm_groups.map(norm).transpose()?,
            to_q: Conv2d::from_linear(channels, inner, vb.pp("to_q"))?,
            to_k: Conv2d::from_linear(channels, inner, vb.pp("to_k"))?,
            to_v: Conv2d::from_linear(channels, inner, vb.pp("to_v"))?,
            // Module 1 of diffusers' `to_out` is a dropout, which diffusers does not use here either.
            to_out: Conv2d::from_linear(inner, channels, vb.pp("to_out").pp(0))?,
            heads,
            output_scale_factor: config.output_scale_factor,
        })
    }

    /// The block on `x`, of the shape of `x`, [batch, channels, height, width].
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        let (batch, _, height, width) = x.dims4()?;
        let normalized;
        let h = match &self.group_norm {
            Some(norm) => {
                normalized = norm.forward(tape, x)?;
                &normalized
            }
            None => x,
        };
        let project = |conv: &Conv2d| conv.forward(tape, h);
        let qkv = tape.concat(&[&project(&self.to_q)?, &project(&self.to_k)?, &project(&self.to_v)?])?;
        let (_, channels, _, _) = qkv.dims4()?;
        let out = tape.attention(&qkv.reshape(&[batch, channels, height * width])?, self.heads)?;
        let out = out.reshape(&[batch, channels / 3, height, width])?;
        let out = tape.conv2d(&FusedConv2d { residual: Some(x), ..self.to_out.fused(&out) })?;
        divide(tape, out, self.output_scale_factor)
    }
}
