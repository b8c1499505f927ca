//! One level of the expanding path.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{SelfAttention, SelfAttentionConfig};
use super::res_block::{PreNormResBlock, PreNormResBlockConfig};
use super::upsample::{Upsample2d, Upsample2dConfig};
use crate::context::Context;
use crate::skip_stack::SkipStack;

/// The shape and the options of an [`UpBlock2d`].
#[derive(Debug, Clone, PartialEq)]
pub struct UpBlock2dConfig {
    /// The residual blocks, whose input channels include those of their skip connection.
    pub res_blocks: Vec<PreNormResBlockConfig>,
    /// Attention after every residual block.
    pub attention: Option<SelfAttentionConfig>,
    /// Upsampling at the end; None at the highest level.
    pub upsample: Option<Upsample2dConfig>,
}

/// Residual blocks, each with a skip connection and followed by attention if configured, then upsampling: diffusers'
/// `UpBlock2D`, `AttnUpBlock2D` and `ResnetUpsampleBlock2D`.
#[derive(Debug)]
pub struct UpBlock2d {
    layers: Vec<(PreNormResBlock, Option<SelfAttention>)>,
    upsample: Option<Upsample2d>,
}

impl UpBlock2d {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &UpBlock2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let layer = |(i, res_block): (usize, &PreNormResBlockConfig)| {
            let res_block = PreNormResBlock::new(res_block, vb.pp("resnets").pp(i))?;
            let attention = config.attention.as_ref();
            let attention =
                attention.map(|config| SelfAttention::new(config, vb.pp("attentions").pp(i))).transpose()?;
            Ok((res_block, attention))
        };
        let upsample = |config| Upsample2d::new(config, vb.pp("upsamplers").pp(0));
        Ok(Self {
            layers: config.res_blocks.iter().enumerate().map(layer).collect::<Result<_>>()?,
            upsample: config.upsample.as_ref().map(upsample).transpose()?,
        })
    }

    /// The features of the level above. Pops one skip connection for each residual block.
    ///
    /// # Errors
    /// When shapes do not fit, or when `skips` has too few.
    pub fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut SkipStack) -> Result<Value> {
        let tape = context.tape();
        let mut x = x.clone();
        for (res_block, attention) in &self.layers {
            // A group of the normalization may cover channels of both, so they are concatenated in memory.
            x = res_block.forward(&tape.concat(&[&x, &skips.pop()?])?, context)?;
            if let Some(attention) = attention {
                x = attention.forward(tape, &x)?;
            }
        }
        match &self.upsample {
            Some(upsample) => upsample.forward(&x, context),
            None => Ok(x),
        }
    }
}
