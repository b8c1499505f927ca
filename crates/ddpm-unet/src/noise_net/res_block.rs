//! Residual block that normalizes after its convolutions.

use candle_core::{Result, bail};
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Value};

use super::conv_block::ConvBlock;
use crate::context::Context;
use crate::layers::{Conv2d, Linear};

/// The shape of a [`PostNormResBlock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PostNormResBlockConfig {
    /// Channels of the input, including those of the skip connection.
    pub channels_in: usize,
    /// Channels of the output, a multiple of `norm_groups`.
    pub channels_out: usize,
    /// Width of the time embedding.
    pub time_channels: usize,
    /// Groups of each normalization.
    pub norm_groups: usize,
}

/// conv2(conv1(x + time_fc(time))) + conv_res(x), where conv1 and conv2 are [`ConvBlock`]s: the article's
/// `ResnetBlock`.
///
/// Unlike [`crate::unet2d::PreNormResBlock`], it normalizes after each convolution rather than before. `conv_res` is
/// a 1 × 1 convolution, or the identity if the number of channels stays the same. In training, dropout acts between
/// conv1 and conv2.
#[derive(Debug, Clone)]
pub struct PostNormResBlock {
    time_fc: Linear,
    conv1: ConvBlock,
    conv2: ConvBlock,
    conv_res: Option<Conv2d>,
}

impl PostNormResBlock {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When the output channels are not a multiple of the groups, or when `vb` cannot provide the parameters.
    pub fn new(config: &PostNormResBlockConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let PostNormResBlockConfig { channels_in, channels_out, time_channels, norm_groups } = *config;
        let conv_res = || Conv2d::new(channels_in, channels_out, 1, vb.pp("conv_res"));
        Ok(Self {
            time_fc: Linear::new(time_channels, channels_in, vb.pp("time_fc"))?,
            conv1: ConvBlock::new(channels_in, channels_out, norm_groups, vb.pp("conv1"))?,
            conv2: ConvBlock::new(channels_out, channels_out, norm_groups, vb.pp("conv2"))?,
            conv_res: if channels_in == channels_out { None } else { Some(conv_res()?) },
        })
    }

    /// The block on `x` [batch, channel, height, width], or on `x` and a skip connection of the same height and width,
    /// whose channels follow those of `x`.
    ///
    /// # Errors
    /// When shapes do not fit, or when there is a skip connection but the number of channels stays the same.
    pub fn forward(&self, x: &Value, skip: Option<&Value>, context: &Context<'_>) -> Result<Value> {
        let inputs: Vec<&Value> = [Some(x), skip].into_iter().flatten().collect();
        let block = self.clone();
        context.run_block(&inputs, move |context, inputs| block.run(&inputs[0], inputs.get(1), context))
    }

    fn run(&self, x: &Value, skip: Option<&Value>, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        let time = self.time_fc.forward(tape, context.time())?;
        let h = tape.conv2d(&FusedConv2d { skip, added: Some(&time), ..self.conv1.fused(x) })?;
        let h = context.dropout(h)?;
        let projected;
        let residual = match (&self.conv_res, skip) {
            (Some(conv), _) => {
                projected = tape.conv2d(&FusedConv2d { skip, ..conv.fused(x) })?;
                &projected
            }
            (None, None) => x,
            (None, Some(_)) => bail!("a residual block with a skip connection has to change the number of channels"),
        };
        tape.conv2d(&FusedConv2d { residual: Some(residual), ..self.conv2.fused(&h) })
    }
}
