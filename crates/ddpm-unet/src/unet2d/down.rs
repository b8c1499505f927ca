//! One level on the way down.

use candle_core::Result;
use ddpm_ops::{Resample, Value};

use super::attention::SelfAttention;
use super::config::{DownBlockType, ResampleType, UNet2dConfig};
use super::resnet::ResnetBlock;
use crate::context::Context;
use crate::layers::Conv2d;
use crate::parameters::Parameters;

/// Residual blocks, each with attention after it where the level has it, then half the size.
#[derive(Debug)]
pub(crate) struct Down {
    blocks: Vec<(ResnetBlock, Option<SelfAttention>)>,
    halve: Option<Halve>,
}

#[derive(Debug)]
enum Halve {
    /// A convolution at stride 2: at stride 1, every second result. DIFFERENCE: four times the work where that is the same.
    Strided(Conv2d, Resample),
    Block(ResnetBlock),
}

impl Down {
    /// Level `level` from the highest.
    pub(crate) fn new(level: usize, config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Self> {
        let all = &config.block_out_channels;
        let (channels_in, channels) = (all[level.saturating_sub(1)], all[level]);
        let kind = config.down_block_types[level];
        let block = |layer: usize| {
            let from = if layer == 0 { channels_in } else { channels };
            let resnet = ResnetBlock::new(from, channels, config, &p.at("resnets").at(layer))?;
            let attend =
                || SelfAttention::new(channels, Some(config.norm_num_groups), config, &p.at("attentions").at(layer));
            let attention = kind == DownBlockType::AttnDownBlock2D;
            Ok((resnet, if attention { Some(attend()?) } else { None }))
        };
        let blocks = (0..config.layers_per_block).map(block).collect::<Result<_>>()?;
        let p = p.at("downsamplers").at(0);
        let by_block = || {
            let block = ResnetBlock::new(channels, channels, config, &p)?;
            Ok::<_, candle_core::Error>(Halve::Block(block.resampling(Resample::Mean)))
        };
        let strided = || {
            let kept = if config.downsample_padding == 0 { Resample::Odd } else { Resample::Even };
            Ok::<_, candle_core::Error>(Halve::Strided(Conv2d::new(channels, channels, 3, &p.at("conv"))?, kept))
        };
        let halve = match (level + 1 == all.len(), kind, config.downsample_type) {
            (true, ..) => None,
            (_, DownBlockType::ResnetDownsampleBlock2D, _)
            | (_, DownBlockType::AttnDownBlock2D, ResampleType::Resnet) => Some(by_block()?),
            _ => Some(strided()?),
        };
        Ok(Self { blocks, halve })
    }

    /// The features of the next level; what the way up will want goes onto `skips`.
    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut Vec<Value>) -> Result<Value> {
        let mut x = x.clone();
        for (resnet, attention) in &self.blocks {
            x = resnet.forward(&x, context)?;
            if let Some(attention) = attention {
                x = attention.forward(context.tape, &x)?;
            }
            skips.push(x.clone());
        }
        let Some(halve) = &self.halve else { return Ok(x) };
        x = match halve {
            Halve::Strided(conv, kept) => context.tape.resample(&conv.forward(context.tape, &x)?, *kept)?,
            Halve::Block(block) => block.forward(&x, context)?,
        };
        skips.push(x.clone());
        Ok(x)
    }
}
