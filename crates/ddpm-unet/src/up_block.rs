//! One level on the way up.

use candle_core::Result;
use ddpm_ops::Value;

use crate::attention::Attention;
use crate::context::Context;
use crate::noise_net_config::{Level, NoiseNetConfig};
use crate::parameters::Parameters;
use crate::resnet_block::ResnetBlock;
use crate::upsample::Upsample;

/// The article's UpBlock: two residual blocks, each on its input beside a skip, attention where the level has it, then the
/// size of the level above.
#[derive(Debug)]
pub(crate) struct UpBlock {
    block1: ResnetBlock,
    block2: ResnetBlock,
    attn: Option<Attention>,
    us: Upsample,
}

impl UpBlock {
    pub(crate) fn new(level: &Level, config: &NoiseNetConfig, p: &Parameters<'_>) -> Result<Self> {
        let (skip, channels) = (level.channels_in, level.channels_out);
        let attn = || Attention::new(channels, config, &p.at("attn"));
        Ok(Self {
            block1: ResnetBlock::new(channels + skip, channels, config, &p.at("block1"))?,
            block2: ResnetBlock::new(channels + skip, channels, config, &p.at("block2"))?,
            attn: if level.attention { Some(attn()?) } else { None },
            us: Upsample::new(channels, skip, !level.highest, &p.at("us"))?,
        })
    }

    /// The features of the level above; takes its two skips off `skips`.
    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>, skips: &mut Vec<Value>) -> Result<Value> {
        let x = self.block1.forward(x, Some(&take_skip(skips)?), context)?;
        let x = self.block2.forward(&x, Some(&take_skip(skips)?), context)?;
        match &self.attn {
            Some(attn) => self.us.forward(context.tape, &attn.forward(context.tape, &x)?),
            None => self.us.forward(context.tape, &x),
        }
    }
}

/// The newest skip.
pub(crate) fn take_skip(skips: &mut Vec<Value>) -> Result<Value> {
    let Some(skip) = skips.pop() else {
        candle_core::bail!("the skip stack is empty: up and down blocks do not match")
    };
    Ok(skip)
}
