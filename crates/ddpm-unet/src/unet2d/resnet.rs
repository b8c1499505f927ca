//! A residual block that normalises first.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Rearrange, Resample, Tape, Value};

use super::config::{Activation, TimeScaleShift, UNet2dConfig};
use crate::context::Context;
use crate::layers::{Conv2d, GroupNorm, Linear};
use crate::parameters::Parameters;

/// Ho et al. 2020, appendix B: conv2(act(norm2(conv1(act(norm1(x))) + time))) + x, with what became of it since: another size,
/// scale and shift by the time.
#[derive(Debug, Clone)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    /// None where the channels stay the same: the identity.
    conv_shortcut: Option<Conv2d>,
    act: Activation,
    by_time: TimeScaleShift,
    /// What becomes of height and width, after the first activation.
    resample: Option<Resample>,
    /// What the result is divided by.
    divisor: f64,
}

impl ResnetBlock {
    pub(crate) fn new(
        channels_in: usize,
        channels_out: usize,
        config: &UNet2dConfig,
        p: &Parameters<'_>,
    ) -> Result<Self> {
        let (groups, eps) = (config.norm_num_groups, config.norm_eps);
        let shortcut = || Conv2d::new(channels_in, channels_out, 1, &p.at("conv_shortcut"));
        let of_time = match config.resnet_time_scale_shift {
            TimeScaleShift::Default => channels_out,
            TimeScaleShift::ScaleShift => 2 * channels_out,
        };
        Ok(Self {
            norm1: GroupNorm::new(groups, channels_in, eps, &p.at("norm1"))?,
            conv1: Conv2d::new(channels_in, channels_out, 3, &p.at("conv1"))?,
            time_emb_proj: Linear::new(config.time_channels(), of_time, &p.at("time_emb_proj"))?,
            norm2: GroupNorm::new(groups, channels_out, eps, &p.at("norm2"))?,
            conv2: Conv2d::new(channels_out, channels_out, 3, &p.at("conv2"))?,
            conv_shortcut: if channels_in == channels_out { None } else { Some(shortcut()?) },
            act: config.act_fn,
            by_time: config.resnet_time_scale_shift,
            resample: None,
            divisor: 1.0,
        })
    }

    /// The block with another height and width.
    pub(crate) fn resampling(self, how: Resample) -> Self {
        Self { resample: Some(how), ..self }
    }

    /// The block with its result divided.
    pub(crate) fn divided_by(self, divisor: f64) -> Self {
        Self { divisor, ..self }
    }

    pub(crate) fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let block = self.clone();
        context.block(&[x], move |context, inputs| block.run(&inputs[0], context))
    }

    fn run(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape;
        let h = normalised(tape, &self.norm1, self.act, x)?;
        let (h, arrange) = match self.resample {
            // As a part of the convolution.
            Some(Resample::Nearest) => (h, Rearrange::UpsampleNearest2x),
            Some(how) => (tape.resample(&h, how)?, Rearrange::AsIs),
            None => (h, Rearrange::AsIs),
        };
        let conv1 = FusedConv2d { arrange, ..self.conv1.of(&h) };
        let time = self.time_emb_proj.forward(tape, &context.time)?;
        let h = match (self.by_time, self.act) {
            (TimeScaleShift::Default, Activation::Silu) => {
                tape.conv2d(&FusedConv2d { image_bias: Some(&time), norm: Some(self.norm2.after()), ..conv1 })?
            }
            (TimeScaleShift::Default, act) => {
                normalised(tape, &self.norm2, act, &tape.conv2d(&FusedConv2d { image_bias: Some(&time), ..conv1 })?)?
            }
            (TimeScaleShift::ScaleShift, act) => {
                let h = self.norm2.forward(tape, &tape.conv2d(&conv1)?)?;
                activated(tape, act, &tape.modulate(&h, &time)?)?
            }
        };
        let h = context.dropout(h)?;
        let resampled;
        let x = match self.resample {
            Some(how) => {
                resampled = tape.resample(x, how)?;
                &resampled
            }
            None => x,
        };
        let projected;
        let residual = match &self.conv_shortcut {
            Some(conv) => {
                projected = conv.forward(tape, x)?;
                &projected
            }
            None => x,
        };
        let out = tape.conv2d(&FusedConv2d { residual: Some(residual), ..self.conv2.of(&h) })?;
        if self.divisor == 1.0 { Ok(out) } else { tape.affine(&out, 1.0 / self.divisor, 0.0) }
    }
}

/// act(norm(x))
fn normalised(tape: &Tape, norm: &GroupNorm, act: Activation, x: &Value) -> Result<Value> {
    match act {
        Activation::Silu => norm.forward_silu(tape, x),
        act => activated(tape, act, &norm.forward(tape, x)?),
    }
}

/// act(x)
pub(crate) fn activated(tape: &Tape, act: Activation, x: &Value) -> Result<Value> {
    match act {
        Activation::Silu => tape.silu(x),
        Activation::Mish => tape.mish(x),
        Activation::Gelu => tape.gelu(x),
        Activation::Relu => tape.relu(x),
    }
}
