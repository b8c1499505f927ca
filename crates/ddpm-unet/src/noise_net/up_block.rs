//! One level of the expanding path.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::Value;

use super::attention::{QkvAttention, QkvAttentionConfig};
use super::res_block::{PostNormResBlock, PostNormResBlockConfig};
use super::upsample::NearestUpsample;
use crate::context::Context;
use crate::layers::Conv2d;
use crate::skip_stack::SkipStack;

/// The shape of an [`UpBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpBlockConfig {
    /// Both residual blocks, whose input channels include those of their skip connection.
    pub res_block: PostNormResBlockConfig,
    /// Attention after the residual blocks.
    pub attention: Option<QkvAttentionConfig>,
    /// Channels of the output.
    pub channels_out: usize,
    /// Whether the output has twice the height and width.
    pub upsample: bool,
}

/// Two residual blocks, each with a skip connection, attention if configured, and a change of channels and size: the
/// article's `UpBlock`.
#[derive(Debug)]
pub struct UpBlock {
    block1: PostNormResBlock,
    block2: PostNormResBlock,
    attn: Option<QkvAttention>,
    us: ToNextLevel,
}

/// The last layer of an up block.
#[derive(Debug)]
enum ToNextLevel {
    Upsample(NearestUpsample),
    /// At the highest level, which keeps the size.
    Conv(Conv2d),
}

impl UpBlock {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &UpBlockConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let (channels_in, channels_out) = (config.res_block.channels_out, config.channels_out);
        Ok(Self {
            block1: PostNormResBlock::new(&config.res_block, vb.pp("block1"))?,
            block2: PostNormResBlock::new(&config.res_block, vb.pp("block2"))?,
            attn: config.attention.as_ref().map(|config| QkvAttention::new(config, vb.pp("attn"))).transpose()?,
            us: if config.upsample {
                ToNextLevel::Upsample(NearestUpsample::new(channels_in, channels_out, vb.pp("us"))?)
            } else {
                ToNextLevel::Conv(Conv2d::new(channels_in, channels_out, 3, vb.pp("us"))?)
            },
        })
    }

    /// The features of the level above. Pops two skip connections.
    ///
    /// # Errors
    /// When shapes do not fit, or when `skips` has fewer than two.
    pub fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut SkipStack) -> Result<Value> {
        let tape = context.tape();
        let x = self.block1.forward(x, Some(&skips.pop()?), context)?;
        let x = self.block2.forward(&x, Some(&skips.pop()?), context)?;
        let x = match &self.attn {
            Some(attn) => attn.forward(tape, &x)?,
            None => x,
        };
        match &self.us {
            ToNextLevel::Upsample(upsample) => upsample.forward(tape, &x),
            ToNextLevel::Conv(conv) => conv.forward(tape, &x),
        }
    }
}
