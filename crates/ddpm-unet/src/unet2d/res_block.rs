//! Residual block that normalizes before its convolutions.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Rearrange, Resample, Tape, Value};

use super::config_enums::TimeScaleShift;
use super::output_scale::divide;
use crate::activation::Activation;
use crate::context::Context;
use crate::layers::{Conv2d, GroupNorm, Linear};

/// The shape and the options of a [`PreNormResBlock`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PreNormResBlockConfig {
    /// Channels of the input, a multiple of `norm_groups`.
    pub channels_in: usize,
    /// Channels of the output, a multiple of `norm_groups`.
    pub channels_out: usize,
    /// Width of the time embedding.
    pub time_channels: usize,
    /// Groups of both normalizations.
    pub norm_groups: usize,
    /// Added to the variance in both normalizations.
    pub norm_eps: f64,
    /// The activation after each normalization.
    pub activation: Activation,
    /// How the time embedding acts on the features.
    pub time_scale_shift: TimeScaleShift,
    /// A change of height and width, after the first activation and on the residual connection.
    pub resample: Option<Resample>,
    /// The output is divided by this number.
    pub output_scale_factor: f64,
}

impl PreNormResBlockConfig {
    /// The block of Ho et al. 2020: 32 groups, eps 1e-6, SiLU, the time embedding added, height and width kept.
    pub fn new(channels_in: usize, channels_out: usize, time_channels: usize) -> Self {
        Self {
            channels_in,
            channels_out,
            time_channels,
            norm_groups: 32,
            norm_eps: 1e-6,
            activation: Activation::Silu,
            time_scale_shift: TimeScaleShift::Default,
            resample: None,
            output_scale_factor: 1.0,
        }
    }
}

/// conv2(act(norm2(conv1(act(norm1(x))) + time))) + shortcut(x): the residual block of Ho et al. 2020, appendix B, and
/// diffusers' `ResnetBlock2D`.
///
/// Unlike [`crate::noise_net::PostNormResBlock`], it normalizes before each convolution rather than after. `shortcut`
/// is a 1 × 1 convolution, or the identity if the number of channels stays the same. In training, dropout acts before
/// conv2.
#[derive(Debug, Clone)]
pub struct PreNormResBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Linear,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
    activation: Activation,
    time_scale_shift: TimeScaleShift,
    resample: Option<Resample>,
    output_scale_factor: f64,
}

impl PreNormResBlock {
    /// A block with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When channels are not multiples of the groups, or when `vb` cannot provide the parameters.
    pub fn new(config: &PreNormResBlockConfig, vb: VarBuilder<'_>) -> Result<Self> {
        let PreNormResBlockConfig { channels_in, channels_out, norm_groups: groups, norm_eps: eps, .. } = *config;
        let shortcut = || Conv2d::new(channels_in, channels_out, 1, vb.pp("conv_shortcut"));
        let projected = match config.time_scale_shift {
            TimeScaleShift::Default => channels_out,
            TimeScaleShift::ScaleShift => 2 * channels_out,
        };
        Ok(Self {
            norm1: GroupNorm::new(groups, channels_in, eps, vb.pp("norm1"))?,
            conv1: Conv2d::new(channels_in, channels_out, 3, vb.pp("conv1"))?,
            time_emb_proj: Linear::new(config.time_channels, projected, vb.pp("time_emb_proj"))?,
            norm2: GroupNorm::new(groups, channels_out, eps, vb.pp("norm2"))?,
            conv2: Conv2d::new(channels_out, channels_out, 3, vb.pp("conv2"))?,
            conv_shortcut: if channels_in == channels_out { None } else { Some(shortcut()?) },
            activation: config.activation,
            time_scale_shift: config.time_scale_shift,
            resample: config.resample,
            output_scale_factor: config.output_scale_factor,
        })
    }

    /// The block on `x` [batch, channels_in, height, width]. The output has `channels_out` channels, and half or
    /// twice the height and width if the block resamples.
    ///
    /// # Errors
    /// When the shape of `x` does not fit.
    pub fn forward(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let block = self.clone();
        context.run_block(&[x], move |context, inputs| block.run(&inputs[0], context))
    }

    fn run(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        let h = context.dropout(self.first_half(x, context)?)?;
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
        let out = tape.conv2d(&FusedConv2d { residual: Some(residual), ..self.conv2.fused(&h) })?;
        divide(tape, out, self.output_scale_factor)
    }

    /// act(norm2(conv1(act(norm1(x))) + time)), resampled after the first activation.
    fn first_half(&self, x: &Value, context: &Context<'_>) -> Result<Value> {
        let tape = context.tape();
        let h = self.normalize(tape, &self.norm1, x)?;
        let (h, arrange) = match self.resample {
            // Nearest-neighbor upsampling is a part of the fused convolution.
            Some(Resample::Nearest) => (h, Rearrange::UpsampleNearest2x),
            Some(how) => (tape.resample(&h, how)?, Rearrange::AsIs),
            None => (h, Rearrange::AsIs),
        };
        let conv1 = FusedConv2d { arrange, ..self.conv1.fused(&h) };
        let time = self.time_emb_proj.forward(tape, context.time())?;
        match (self.time_scale_shift, self.activation) {
            (TimeScaleShift::Default, Activation::Silu) => {
                tape.conv2d(&FusedConv2d { image_bias: Some(&time), norm: Some(self.norm2.as_fused()), ..conv1 })
            }
            (TimeScaleShift::Default, _) => {
                let h = tape.conv2d(&FusedConv2d { image_bias: Some(&time), ..conv1 })?;
                self.normalize(tape, &self.norm2, &h)
            }
            (TimeScaleShift::ScaleShift, activation) => {
                let h = self.norm2.forward(tape, &tape.conv2d(&conv1)?)?;
                activation.forward(tape, &tape.modulate(&h, &time)?)
            }
        }
    }

    /// act(norm(x))
    fn normalize(&self, tape: &Tape, norm: &GroupNorm, x: &Value) -> Result<Value> {
        match self.activation {
            Activation::Silu => norm.forward_silu(tape, x),
            activation => activation.forward(tape, &norm.forward(tape, x)?),
        }
    }
}
