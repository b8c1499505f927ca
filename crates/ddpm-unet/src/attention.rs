//! Self-attention over the positions of a feature map.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Tape, Value};

use crate::layers::{Conv2d, GroupNorm};
use crate::noise_net_config::{EPS, NoiseNetConfig};
use crate::parameters::Parameters;

/// The article's Attention: normalise, project to queries, keys and values, attend, project back.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    norm: GroupNorm,
    to_qkv: Conv2d,
    to_out: Conv2d,
    heads: usize,
    /// DIFFERENCE: the article has no residual connection around attention, Ho et al. have. Without one, a level with
    /// attention passes on nothing but what attention lets through.
    residual: bool,
}

impl Attention {
    pub(crate) fn new(channels: usize, config: &NoiseNetConfig, p: &Parameters<'_>) -> Result<Self> {
        let hidden = config.attention_heads * config.attention_head_channels;
        Ok(Self {
            norm: GroupNorm::new(1, channels, EPS, &p.at("norm"))?,
            to_qkv: Conv2d::without_bias(channels, 3 * hidden, 1, &p.at("to_qkv"))?,
            to_out: Conv2d::new(hidden, channels, 1, &p.at("to_out"))?,
            heads: config.attention_heads,
            residual: config.attention_residual,
        })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        let (batch, _, height, width) = x.dims4()?;
        let qkv = self.to_qkv.forward(tape, &self.norm.forward(tape, x)?)?;
        let (_, channels, _, _) = qkv.dims4()?;
        let out = tape.attention(&qkv.reshape(&[batch, channels, height * width])?, self.heads)?;
        let out = out.reshape(&[batch, channels / 3, height, width])?;
        tape.conv2d(&FusedConv2d { residual: self.residual.then_some(x), ..self.to_out.of(&out) })
    }
}
