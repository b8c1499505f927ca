//! Convolution, group normalisation, SiLU.

use candle_core::{Result, Tensor};

use crate::layers::{Conv2d, GroupNorm};
use crate::parameters::Parameters;

/// The article's ConvBlock: a 3 × 3 convolution, then normalisation, then SiLU.
#[derive(Debug)]
pub(crate) struct ConvBlock {
    conv: Conv2d,
    norm: GroupNorm,
}

impl ConvBlock {
    pub(crate) fn new(channels_in: usize, channels_out: usize, groups: usize, p: &Parameters<'_>) -> Result<Self> {
        let conv = Conv2d::new(channels_in, channels_out, 3, &p.at("conv"))?;
        Ok(Self { conv, norm: GroupNorm::new(groups, channels_out, &p.at("norm"))? })
    }

    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.norm.forward_silu(&self.conv.forward(x)?)
    }
}
