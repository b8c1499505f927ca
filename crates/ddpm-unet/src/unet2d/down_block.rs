//! One level of the contracting path.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{SelfAttention, SelfAttentionConfig};
use super::downsample::{Downsample2d, Downsample2dConfig};
use super::res_block::{PreNormResBlock, PreNormResBlockConfig};
use crate::context::Context;
use crate::skip_stack::SkipStack;

/// The shape and the options of a [`DownBlock2d`].
#[derive(Debug, Clone, PartialEq)]
pub struct DownBlock2dConfig {
    /// The residual blocks, each of which continues with the channels of the one before.
    pub res_blocks: Vec<PreNormResBlockConfig>,
    /// Attention after every residual block.
    pub attention: Option<SelfAttentionConfig>,
    /// Downsampling at the end; None at the lowest level.
    pub downsample: Option<Downsample2dConfig>,
}

/// Residual blocks, each followed by attention if configured, then downsampling: diffusers' `DownBlock2D`,
/// `AttnDownBlock2D` and `ResnetDownsampleBlock2D`.
#[derive(Debug)]
pub struct DownBlock2d {
    layers: Vec<(PreNormResBlock, Option<SelfAttention>)>,
    downsample: Option<Downsample2d>,
}

impl DownBlock2d {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &DownBlock2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let layer = |(i, res_block): (usize, &PreNormResBlockConfig)| {
            let res_block = PreNormResBlock::new(res_block, vb.pp("resnets").pp(i))?;
            let attention = config.attention.as_ref();
            let attention =
                attention.map(|config| SelfAttention::new(config, vb.pp("attentions").pp(i))).transpose()?;
            Ok((res_block, attention))
        };
        let downsample = |config| Downsample2d::new(config, vb.pp("downsamplers").pp(0));
        Ok(Self {
            layers: config.res_blocks.iter().enumerate().map(layer).collect::<Result<_>>()?,
            downsample: config.downsample.as_ref().map(downsample).transpose()?,
        })
    }

    /// The features of the next level. Pushes one skip connection for each residual block and one for the downsampling.
    ///
    /// # Errors
    /// When the shape of `x` does not fit.
    pub fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut SkipStack) -> Result<Value> {
        let mut x = x.clone();
        for (res_block, attention) in &self.layers {
            x = res_block.forward(&x, context)?;
            if let Some(attention) = attention {
                x = attention.forward(context.tape(), &x)?;
            }
            skips.push(&x);
        }
        if let Some(downsample) = &self.downsample {
            x = downsample.forward(&x, context)?;
            skips.push(&x);
        }
        Ok(x)
    }
}
