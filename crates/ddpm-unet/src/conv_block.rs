//! Convolution, group normalisation, SiLU.

use candle_core::Result;
use ddpm_ops::{Tape, Value};

use crate::layers::{Conv2d, GroupNorm};
use crate::noise_net_config::EPS;
use crate::parameters::Parameters;

/// The article's ConvBlock: a 3 × 3 convolution, then normalisation, then SiLU.
#[derive(Debug, Clone)]
pub(crate) struct ConvBlock {
    conv: Conv2d,
    norm: GroupNorm,
}

impl ConvBlock {
    pub(crate) fn new(channels_in: usize, channels_out: usize, groups: usize, p: &Parameters<'_>) -> Result<Self> {
        let conv = Conv2d::new(channels_in, channels_out, 3, &p.at("conv"))?;
        Ok(Self { conv, norm: GroupNorm::new(groups, channels_out, EPS, &p.at("norm"))? })
    }

    /// The block's output for what `around` makes of its convolution.
    pub(crate) fn forward<'a>(
        &'a self,
        tape: &Tape,
        x: &'a Value,
        around: impl FnOnce(&mut ddpm_ops::FusedConv2d<'a>),
    ) -> Result<Value> {
        let mut conv = ddpm_ops::FusedConv2d { norm: Some(self.norm.after()), ..self.conv.of(x) };
        around(&mut conv);
        tape.conv2d(&conv)
    }
}
