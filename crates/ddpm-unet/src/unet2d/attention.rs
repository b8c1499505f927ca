//! Self-attention over the positions of a feature map, its projections apart.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Tape, Value};

use super::config::UNet2dConfig;
use crate::layers::{Conv2d, GroupNorm};
use crate::parameters::Parameters;

/// Ho et al. 2020, appendix B: x + out(attention(q, k, v of norm(x))).
#[derive(Debug, Clone)]
pub(crate) struct SelfAttention {
    group_norm: Option<GroupNorm>,
    to_q: Conv2d,
    to_k: Conv2d,
    to_v: Conv2d,
    to_out: Conv2d,
    heads: usize,
    /// What the result is divided by.
    divisor: f64,
}

impl SelfAttention {
    /// Attention with a normalisation of `groups` groups before it, or none.
    pub(crate) fn new(
        channels: usize,
        groups: Option<usize>,
        config: &UNet2dConfig,
        p: &Parameters<'_>,
    ) -> Result<Self> {
        let head = config.attention_head_dim.unwrap_or(channels);
        // As diffusers does: whole heads, though they may be fewer channels together.
        let heads = (channels / head).max(1);
        let inner = heads * head;
        let norm = |groups| GroupNorm::new(groups, channels, config.norm_eps, &p.at("group_norm"));
        Ok(Self {
            group_norm: groups.map(norm).transpose()?,
            to_q: Conv2d::of_matrix(channels, inner, &p.at("to_q"))?,
            to_k: Conv2d::of_matrix(channels, inner, &p.at("to_k"))?,
            to_v: Conv2d::of_matrix(channels, inner, &p.at("to_v"))?,
            // 1 is the dropout of diffusers' Sequential, which is not used.
            to_out: Conv2d::of_matrix(inner, channels, &p.at("to_out").at(0))?,
            heads,
            divisor: 1.0,
        })
    }

    /// The same with its result divided.
    pub(crate) fn divided_by(self, divisor: f64) -> Self {
        Self { divisor, ..self }
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        let (batch, _, height, width) = x.dims4()?;
        let normalised;
        let h = match &self.group_norm {
            Some(norm) => {
                normalised = norm.forward(tape, x)?;
                &normalised
            }
            None => x,
        };
        let project = |conv: &Conv2d| conv.forward(tape, h);
        let qkv = tape.concat(&[&project(&self.to_q)?, &project(&self.to_k)?, &project(&self.to_v)?])?;
        let (_, channels, _, _) = qkv.dims4()?;
        let out = tape.attention(&qkv.reshape(&[batch, channels, height * width])?, self.heads)?;
        let out = out.reshape(&[batch, channels / 3, height, width])?;
        let out = tape.conv2d(&FusedConv2d { residual: Some(x), ..self.to_out.of(&out) })?;
        if self.divisor == 1.0 { Ok(out) } else { tape.affine(&out, 1.0 / self.divisor, 0.0) }
    }
}
