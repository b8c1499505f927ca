//! One level on the way down.

use candle_core::Result;
use ddpm_ops::Value;

use crate::attention::Attention;
use crate::context::Context;
use crate::downsample::Downsample;
use crate::noise_net_config::{Level, NoiseNetConfig};
use crate::parameters::Parameters;
use crate::resnet_block::ResnetBlock;

/// The article's DownBlock: two residual blocks, attention where the level has it, then the next level's size.
#[derive(Debug)]
pub(crate) struct DownBlock {
    block1: ResnetBlock,
    block2: ResnetBlock,
    attn: Option<Attention>,
    ds: Downsample,
}

impl DownBlock {
    pub(crate) fn new(level: &Level, config: &NoiseNetConfig, p: &Parameters<'_>) -> Result<Self> {
        let channels = level.channels_in;
        let attn = || Attention::new(channels, config, &p.at("attn"));
        Ok(Self {
            block1: ResnetBlock::new(channels, channels, config, &p.at("block1"))?,
            block2: ResnetBlock::new(channels, channels, config, &p.at("block2"))?,
            attn: if level.attention { Some(attn()?) } else { None },
            ds: Downsample::new(channels, level.channels_out, !level.lowest, &p.at("ds"))?,
        })
    }

    /// The features of the next level; what the way up will want goes onto `skips`.
    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut Vec<Value>) -> Result<Value> {
        let x = self.block1.forward(x, None, context)?;
        skips.push(x.clone());
        let x = self.block2.forward(&x, None, context)?;
        let x = match &self.attn {
            Some(attn) => attn.forward(context.tape, &x)?,
            None => x,
        };
        skips.push(x.clone());
        self.ds.forward(context.tape, &x)
    }
}
