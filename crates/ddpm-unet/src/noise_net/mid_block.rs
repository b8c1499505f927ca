//! The lowest level.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{QkvAttention, QkvAttentionConfig};
use super::res_block::{PostNormResBlock, PostNormResBlockConfig};
use crate::context::Context;

/// The shape of a [`MidBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MidBlockConfig {
    /// Both residual blocks, which keep the number of channels.
    pub res_block: PostNormResBlockConfig,
    /// The attention between them.
    pub attention: QkvAttentionConfig,
}

/// A residual block, attention, a residual block: the article's `MidBlock`.
#[derive(Debug)]
pub struct MidBlock {
    conv1: PostNormResBlock,
    attn: QkvAttention,
    conv2: PostNormResBlock,
}

impl MidBlock {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &MidBlockConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            conv1: PostNormResBlock::new(&config.res_block, vb.pp("conv1"))?,
            attn: QkvAttention::new(&config.attention, vb.pp("attn"))?,
            conv2: PostNormResBlock::new(&config.res_block, vb.pp("conv2"))?,
        })
    }

    /// The block on `x`, of the shape of `x`.
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let x = self.conv1.forward(x, None, context)?;
        let x = self.attn.forward(context.tape(), &x)?;
        self.conv2.forward(&x, None, context)
    }
}
