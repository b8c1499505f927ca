//! One level on the way up.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Rearrange, Resample, Value};

use super::attention::SelfAttention;
use super::config::{ResampleType, UNet2dConfig, UpBlockType, UpLevel};
use super::resnet::ResnetBlock;
use crate::context::Context;
use crate::layers::Conv2d;
use crate::parameters::Parameters;
use crate::up_block::take_skip;

/// Residual blocks on their input beside a skip, each with attention after it where the level has it, then twice the size.
#[derive(Debug)]
pub(crate) struct Up {
    blocks: Vec<(ResnetBlock, Option<SelfAttention>)>,
    double: Option<Double>,
}

#[derive(Debug)]
enum Double {
    /// Nearest upsampling, then a convolution.
    Conv(Conv2d),
    Block(ResnetBlock),
}

impl Up {
    pub(crate) fn new(kind: UpBlockType, level: &UpLevel, config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Self> {
        let channels = level.channels;
        let block = |(layer, joined): (usize, &usize)| {
            let resnet = ResnetBlock::new(*joined, channels, config, &p.at("resnets").at(layer))?;
            let attend =
                || SelfAttention::new(channels, Some(config.norm_num_groups), config, &p.at("attentions").at(layer));
            let attention = kind == UpBlockType::AttnUpBlock2D;
            Ok((resnet, if attention { Some(attend()?) } else { None }))
        };
        let blocks = level.joined.iter().enumerate().map(block).collect::<Result<_>>()?;
        let p = p.at("upsamplers").at(0);
        let by_block = || {
            let block = ResnetBlock::new(channels, channels, config, &p)?;
            Ok::<_, candle_core::Error>(Double::Block(block.resampling(Resample::Nearest)))
        };
        let by_conv = || Ok::<_, candle_core::Error>(Double::Conv(Conv2d::new(channels, channels, 3, &p.at("conv"))?));
        let double = match (level.double, kind, config.upsample_type) {
            (false, ..) => None,
            (_, UpBlockType::ResnetUpsampleBlock2D, _) | (_, UpBlockType::AttnUpBlock2D, ResampleType::Resnet) => {
                Some(by_block()?)
            }
            _ => Some(by_conv()?),
        };
        Ok(Self { blocks, double })
    }

    /// The features of the level above; takes its skips off `skips`.
    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut Vec<Value>) -> Result<Value> {
        let tape = context.tape;
        let mut x = x.clone();
        for (resnet, attention) in &self.blocks {
            // Groups of the normalisation may reach over both, so they are joined in memory.
            x = resnet.forward(&tape.concat(&[&x, &take_skip(skips)?])?, context)?;
            if let Some(attention) = attention {
                x = attention.forward(tape, &x)?;
            }
        }
        match &self.double {
            None => Ok(x),
            Some(Double::Conv(conv)) => {
                tape.conv2d(&FusedConv2d { arrange: Rearrange::UpsampleNearest2x, ..conv.of(&x) })
            }
            Some(Double::Block(block)) => block.forward(&x, context),
        }
    }
}
