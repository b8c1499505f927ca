//! The bottom of the network.

use candle_core::Result;
use ddpm_ops::Value;

use super::attention::SelfAttention;
use super::config::{TimeScaleShift, UNet2dConfig};
use super::resnet::ResnetBlock;
use crate::context::Context;
use crate::parameters::Parameters;

/// A residual block, attention, a residual block.
#[derive(Debug)]
pub(crate) struct Mid {
    before: ResnetBlock,
    attention: Option<SelfAttention>,
    after: ResnetBlock,
}

impl Mid {
    pub(crate) fn new(channels: usize, config: &UNet2dConfig, p: &Parameters<'_>) -> Result<Self> {
        let divisor = config.mid_block_scale_factor;
        let resnet = |i: usize| {
            Ok::<_, candle_core::Error>(
                ResnetBlock::new(channels, channels, config, &p.at("resnets").at(i))?.divided_by(divisor),
            )
        };
        let groups = config.attn_norm_num_groups.or(match config.resnet_time_scale_shift {
            TimeScaleShift::Default => Some(config.norm_num_groups),
            TimeScaleShift::ScaleShift => None,
        });
        let attend = || SelfAttention::new(channels, groups, config, &p.at("attentions").at(0));
        let attention = if config.add_attention { Some(attend()?.divided_by(divisor)) } else { None };
        Ok(Self { before: resnet(0)?, attention, after: resnet(1)? })
    }

    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let x = self.before.forward(x, context)?;
        match &self.attention {
            Some(attention) => self.after.forward(&attention.forward(context.tape, &x)?, context),
            None => self.after.forward(&x, context),
        }
    }
}
