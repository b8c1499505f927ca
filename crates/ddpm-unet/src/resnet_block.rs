//! Two convolution blocks around a residual connection, told the time.

use candle_core::{Result, Tensor};

use crate::context::Context;
use crate::conv_block::ConvBlock;
use crate::layers::{Conv2d, Linear};
use crate::noise_net_config::NoiseNetConfig;
use crate::parameters::Parameters;

/// The article's ResnetBlock: conv2(conv1(x + time_fc(silu(t)))) + conv_res(x).
#[derive(Debug)]
pub(crate) struct ResnetBlock {
    time_fc: Linear,
    conv1: ConvBlock,
    conv2: ConvBlock,
    /// None where the channels stay the same: the identity.
    conv_res: Option<Conv2d>,
}

impl ResnetBlock {
    pub(crate) fn new(
        channels_in: usize,
        channels_out: usize,
        config: &NoiseNetConfig,
        p: &Parameters<'_>,
    ) -> Result<Self> {
        let groups = config.norm_groups;
        let conv_res = || Conv2d::new(channels_in, channels_out, 1, &p.at("conv_res"));
        Ok(Self {
            time_fc: Linear::new(config.time_channels(), channels_in, &p.at("time_fc"))?,
            conv1: ConvBlock::new(channels_in, channels_out, groups, &p.at("conv1"))?,
            conv2: ConvBlock::new(channels_out, channels_out, groups, &p.at("conv2"))?,
            conv_res: if channels_in == channels_out { None } else { Some(conv_res()?) },
        })
    }

    pub(crate) fn forward(&self, x: &Tensor, context: &Context<'_>) -> Result<Tensor> {
        let timed = ddpm_ops::add_per_channel(x, &self.time_fc.forward(&context.time)?)?;
        let h = context.dropout(self.conv1.forward(&timed)?)?;
        let h = self.conv2.forward(&h)?;
        match &self.conv_res {
            Some(conv) => h + conv.forward(x)?,
            None => h + x,
        }
    }
}
