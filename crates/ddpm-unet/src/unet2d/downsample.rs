//! Downsampling of a level.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{Resample, Value};

use super::res_block::{PreNormResBlock, PreNormResBlockConfig};
use crate::context::Context;
use crate::layers::Conv2d;

/// How a [`Downsample2d`] halves height and width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Downsample2dConfig {
    /// A 3 × 3 convolution at stride 2.
    Conv {
        /// Channels of input and output.
        channels: usize,
        /// Whether zeros are added on all sides (diffusers' `downsample_padding` 1) or only below and to the right
        /// (0, as in Ho et al. 2020).
        pad_all_sides: bool,
    },
    /// A residual block that resamples.
    ResBlock(PreNormResBlockConfig),
}

/// Halves height and width.
#[derive(Debug)]
pub struct Downsample2d(Kind);

#[derive(Debug)]
enum Kind {
    /// DIFFERENCE: the convolution is computed at stride 1, of which every second result is kept. The result is the
    /// same for four times the multiplications.
    Conv {
        conv: Conv2d,
        keep: Resample,
    },
    ResBlock(PreNormResBlock),
}

impl Downsample2d {
    /// A downsampling with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the configuration is invalid, or when `vb` cannot provide the parameters.
    pub fn new(config: &Downsample2dConfig, vb: VarBuilder<'_>) -> Result<Self> {
        Ok(Self(match config {
            Downsample2dConfig::Conv { channels, pad_all_sides } => Kind::Conv {
                conv: Conv2d::new(*channels, *channels, 3, vb.pp("conv"))?,
                keep: if *pad_all_sides { Resample::Even } else { Resample::Odd },
            },
            Downsample2dConfig::ResBlock(config) => Kind::ResBlock(PreNormResBlock::new(config, vb)?),
        }))
    }

    /// [batch, channel, height, width] to [batch, channel, height / 2, width / 2].
    ///
    /// # Errors
    /// When height or width is odd, or when `x` has another number of channels.
    pub fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        match &self.0 {
            Kind::Conv { conv, keep } => tape.resample(&conv.forward(tape, x)?, *keep),
            Kind::ResBlock(block) => block.forward(x, context),
        }
    }
}
