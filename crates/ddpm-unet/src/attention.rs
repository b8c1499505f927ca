//! Self-attention over the positions of a feature map.

use candle_core::{Result, Tensor};

use crate::layers::{Conv2d, GroupNorm};
use crate::noise_net_config::NoiseNetConfig;
use crate::parameters::Parameters;

/// The article's Attention: normalise, project to queries, keys and values, attend, project back.
#[derive(Debug)]
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
            norm: GroupNorm::new(1, channels, &p.at("norm"))?,
            to_qkv: Conv2d::without_bias(channels, 3 * hidden, 1, &p.at("to_qkv"))?,
            to_out: Conv2d::new(hidden, channels, 1, &p.at("to_out"))?,
            heads: config.attention_heads,
            residual: config.attention_residual,
        })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let (batch, _, height, width) = x.dims4()?;
        let qkv = self.to_qkv.forward(&self.norm.forward(x)?)?;
        let out = ddpm_ops::attention(&qkv.flatten_from(2)?, self.heads)?;
        let out = self.to_out.forward(&out.reshape((batch, (), height, width))?)?;
        if self.residual { out + x } else { Ok(out) }
    }
}
