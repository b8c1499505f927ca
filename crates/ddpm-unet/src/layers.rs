//! Layers with parameters: convolution, group normalisation, fully connected.

use candle_core::{Result, Tensor};
use ddpm_ops::{Tape, Value};

use crate::parameters::{Init, Parameters};

/// A convolution that keeps height and width, with an odd square kernel.
#[derive(Debug, Clone)]
pub(crate) struct Conv2d {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Conv2d {
    pub(crate) fn new(channels_in: usize, channels_out: usize, kernel: usize, p: &Parameters<'_>) -> Result<Self> {
        let mut conv = Self::without_bias(channels_in, channels_out, kernel, p)?;
        conv.bias = Some(p.get("bias", &[channels_out], fan_in(channels_in * kernel * kernel))?);
        Ok(conv)
    }

    pub(crate) fn without_bias(
        channels_in: usize,
        channels_out: usize,
        kernel: usize,
        p: &Parameters<'_>,
    ) -> Result<Self> {
        let init = fan_in(channels_in * kernel * kernel);
        let weight = p.get("weight", &[channels_out, channels_in, kernel, kernel], init)?;
        Ok(Self { weight, bias: None })
    }

    /// One of a single tap, whose weight is the matrix [channel_out, channel_in].
    pub(crate) fn of_matrix(channels_in: usize, channels_out: usize, p: &Parameters<'_>) -> Result<Self> {
        let weight = p.get("weight", &[channels_out, channels_in], fan_in(channels_in))?;
        Ok(Self { weight, bias: Some(p.get("bias", &[channels_out], fan_in(channels_in))?) })
    }

    /// The convolution of `x`, to be told what surrounds it.
    pub(crate) fn of<'a>(&'a self, x: &'a Value) -> ddpm_ops::FusedConv2d<'a> {
        ddpm_ops::FusedConv2d::new(x, &self.weight, self.bias.as_ref())
    }

    /// [batch, channel_in, height, width] to [batch, channel_out, height, width].
    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.conv2d(&self.of(x))
    }
}

/// PyTorch's default for layers with that many inputs an output: uniform over ±1/√fan_in.
fn fan_in(inputs: usize) -> Init {
    Init::Uniform { bound: (inputs as f64).sqrt().recip() }
}

/// Group normalisation with a learnt scale and shift a channel.
#[derive(Debug, Clone)]
pub(crate) struct GroupNorm {
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    pub(crate) fn new(groups: usize, channels: usize, eps: f64, p: &Parameters<'_>) -> Result<Self> {
        let weight = p.get("weight", &[channels], Init::Ones)?;
        Ok(Self { weight, bias: p.get("bias", &[channels], Init::Zeros)?, groups, eps })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.group_norm(x, self.groups, &self.weight, &self.bias, self.eps, false)
    }

    /// Followed by SiLU.
    pub(crate) fn forward_silu(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.group_norm(x, self.groups, &self.weight, &self.bias, self.eps, true)
    }

    /// As what follows a convolution, with SiLU.
    pub(crate) fn after(&self) -> ddpm_ops::Norm<'_> {
        ddpm_ops::Norm { groups: self.groups, weight: &self.weight, bias: &self.bias, eps: self.eps }
    }
}

/// x Wᵀ + b.
#[derive(Debug, Clone)]
pub(crate) struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    pub(crate) fn new(features_in: usize, features_out: usize, p: &Parameters<'_>) -> Result<Self> {
        let weight = p.get("weight", &[features_out, features_in], fan_in(features_in))?;
        Ok(Self { weight, bias: p.get("bias", &[features_out], fan_in(features_in))? })
    }

    /// [batch, feature_in] to [batch, feature_out].
    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.linear(x, &self.weight, &self.bias)
    }
}
