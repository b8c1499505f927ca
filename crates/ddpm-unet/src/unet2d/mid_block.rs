//! The lowest level.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{SelfAttention, SelfAttentionConfig};
use super::res_block::{PreNormResBlock, PreNormResBlockConfig};
use crate::context::Context;

/// The shape and the options of a [`MidBlock2d`].
#[derive(Debug, Clone, PartialEq)]
pub struct MidBlock2dConfig {
    /// Both residual blocks, which keep the number of channels.
    pub res_block: PreNormResBlockConfig,
    /// Attention between them.
    pub attention: Option<SelfAttentionConfig>,
}

/// A residual block, attention if configured, a residual block: diffusers' `UNetMidBlock2D`.
#[derive(Debug)]
pub struct MidBlock2d {
    first: PreNormResBlock,
    attention: Option<SelfAttention>,
    second: PreNormResBlock,
}

impl MidBlock2d {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &MidBlock2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let res_block = |i: usize| PreNormResBlock::new(&config.res_block, vb.pp("resnets").pp(i));
        let attention = |config| SelfAttention::new(config, vb.pp("attentions").pp(0));
        Ok(Self {
            first: res_block(0)?,
            attention: config.attention.as_ref().map(attention).transpose()?,
            second: res_block(1)?,
        })
    }

    /// The block on `x`, of the shape of `x`.
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let x = self.first.forward(x, context)?;
        match &self.attention {
            Some(attention) => self.second.forward(&attention.forward(context.tape(), &x)?, context),
            None => self.second.forward(&x, context),
        }
    }
}
