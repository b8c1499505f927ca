//! Upsampling of a level.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Rearrange, Value};

use super::res_block::{PreNormResBlock, PreNormResBlockConfig};
use crate::context::Context;
use crate::layers::Conv2d;

/// How an [`Upsample2d`] doubles height and width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Upsample2dConfig {
    /// Nearest-neighbor upsampling and a 3 × 3 convolution.
    Conv {
        /// Channels of input and output.
        channels: usize,
    },
    /// A residual block that resamples.
    ResBlock(PreNormResBlockConfig),
}

/// Doubles height and width.
#[derive(Debug)]
pub struct Upsample2d(Kind);

#[derive(Debug)]
enum Kind {
    Conv(Conv2d),
    ResBlock(PreNormResBlock),
}

impl Upsample2d {
    /// An upsampling with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &Upsample2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(match config {
            Upsample2dConfig::Conv { channels } => Kind::Conv(Conv2d::new(*channels, *channels, 3, vb.pp("conv"))?),
            Upsample2dConfig::ResBlock(config) => Kind::ResBlock(PreNormResBlock::new(config, vb)?),
        }))
    }

    /// [batch, channel, height, width] to [batch, channel, 2 · height, 2 · width].
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        match &self.0 {
            Kind::Conv(conv) => {
                context.tape().conv2d(&FusedConv2d { arrange: Rearrange::UpsampleNearest2x, ..conv.fused(x) })
            }
            Kind::ResBlock(block) => block.forward(x, context),
        }
    }
}
