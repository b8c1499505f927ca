//! Two convolution blocks around a residual connection, told the time.

use candle_core::{Result, bail};
use ddpm_ops::{FusedConv2d, Value};

use crate::context::Context;
use crate::conv_block::ConvBlock;
use crate::layers::{Conv2d, Linear};
use crate::noise_net_config::NoiseNetConfig;
use crate::parameters::Parameters;

/// The article's ResnetBlock: conv2(conv1(x + time_fc(silu(t)))) + conv_res(x).
#[derive(Debug, Clone)]
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

    /// The block on `x`, beside `skip` where there is one.
    pub(crate) fn forward(&self, x: &Value, skip: Option<&Value>, context: &Context<'_>) -> Result<Value> {
        let inputs: Vec<&Value> = [Some(x), skip].into_iter().flatten().collect();
        let block = self.clone();
        context.block(&inputs, move |context, inputs| block.run(&inputs[0], inputs.get(1), context))
    }

    fn run(&self, x: &Value, skip: Option<&Value>, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape;
        let time = self.time_fc.forward(tape, &context.time)?;
        let h = self.conv1.forward(tape, x, |conv| (conv.skip, conv.added) = (skip, Some(&time)))?;
        let h = context.dropout(h)?;
        let projected;
        let residual = match (&self.conv_res, skip) {
            (Some(conv), _) => {
                projected = tape.conv2d(&FusedConv2d { skip, ..conv.of(x) })?;
                &projected
            }
            (None, None) => x,
            (None, Some(_)) => bail!("a residual block beside a skip has to change the channels"),
        };
        self.conv2.forward(tape, &h, |conv| conv.residual = Some(residual))
    }
}
