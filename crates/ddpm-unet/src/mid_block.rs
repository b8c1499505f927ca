//! The bottom of the network.

use candle_core::Result;
use ddpm_ops::Value;

use crate::attention::Attention;
use crate::context::Context;
use crate::noise_net_config::NoiseNetConfig;
use crate::parameters::Parameters;
use crate::resnet_block::ResnetBlock;

/// The article's MidBlock: a residual block, attention, a residual block.
#[derive(Debug)]
pub(crate) struct MidBlock {
    conv1: ResnetBlock,
    attn: Attention,
    conv2: ResnetBlock,
}

impl MidBlock {
    pub(crate) fn new(channels: usize, config: &NoiseNetConfig, p: &Parameters<'_>) -> Result<Self> {
        Ok(Self {
            conv1: ResnetBlock::new(channels, channels, config, &p.at("conv1"))?,
            attn: Attention::new(channels, config, &p.at("attn"))?,
            conv2: ResnetBlock::new(channels, channels, config, &p.at("conv2"))?,
        })
    }

    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let x = self.conv1.forward(x, None, context)?;
        self.conv2.forward(&self.attn.forward(context.tape, &x)?, None, context)
    }
}
