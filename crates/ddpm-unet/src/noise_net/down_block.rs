//! One level of the contracting path.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{QkvAttention, QkvAttentionConfig};
use super::downsample::UnshuffleDownsample;
use super::res_block::{PostNormResBlock, PostNormResBlockConfig};
use crate::context::Context;
use crate::layers::Conv2d;
use crate::skip_stack::SkipStack;

/// The shape of a [`DownBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DownBlockConfig {
    /// Both residual blocks, which keep the number of channels.
    pub res_block: PostNormResBlockConfig,
    /// Attention after the residual blocks.
    pub attention: Option<QkvAttentionConfig>,
    /// Channels of the output.
    pub channels_out: usize,
    /// Whether the output has half the height and width.
    pub downsample: bool,
}

/// Two residual blocks, attention if configured, and a change of channels and size: the article's `DownBlock`.
#[derive(Debug)]
pub struct DownBlock {
    block1: PostNormResBlock,
    block2: PostNormResBlock,
    attn: Option<QkvAttention>,
    ds: ToNextLevel,
}

/// The last layer of a down block.
#[derive(Debug)]
enum ToNextLevel {
    Downsample(UnshuffleDownsample),
    /// At the lowest level, which keeps the size.
    Conv(Conv2d),
}

impl DownBlock {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &DownBlockConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (channels_in, channels_out) = (config.res_block.channels_out, config.channels_out);
        Ok(Self {
            block1: PostNormResBlock::new(&config.res_block, vb.pp("block1"))?,
            block2: PostNormResBlock::new(&config.res_block, vb.pp("block2"))?,
            attn: config.attention.as_ref().map(|config| QkvAttention::new(config, vb.pp("attn"))).transpose()?,
            ds: if config.downsample {
                ToNextLevel::Downsample(UnshuffleDownsample::new(channels_in, channels_out, vb.pp("ds"))?)
            } else {
                ToNextLevel::Conv(Conv2d::new(channels_in, channels_out, 3, vb.pp("ds"))?)
            },
        })
    }

    /// The features of the next level. Pushes two skip connections.
    ///
    /// # Errors
    /// When the shape of `x` does not fit.
    pub fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut SkipStack) -> Result<Value> {
        let tape = context.tape();
        let x = self.block1.forward(x, None, context)?;
        skips.push(&x);
        let x = self.block2.forward(&x, None, context)?;
        let x = match &self.attn {
            Some(attn) => attn.forward(tape, &x)?,
            None => x,
        };
        skips.push(&x);
        match &self.ds {
            ToNextLevel::Downsample(downsample) => downsample.forward(tape, &x),
            ToNextLevel::Conv(conv) => conv.forward(tape, &x),
        }
    }
}
