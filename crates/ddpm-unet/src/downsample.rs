//! Halving height and width.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Rearrange, Tape, Value};

use crate::layers::Conv2d;
use crate::parameters::Parameters;

/// The article's last layer of a down block: pixel unshuffle and a 1 × 1 convolution, or, at the lowest level, a 3 × 3
/// convolution that keeps the size.
#[derive(Debug)]
pub(crate) enum Downsample {
    Halve(Conv2d),
    Keep(Conv2d),
}

impl Downsample {
    pub(crate) fn new(channels_in: usize, channels_out: usize, halve: bool, p: &Parameters<'_>) -> Result<Self> {
        Ok(if halve {
            // model.0 is the rearrangement.
            Self::Halve(Conv2d::new(4 * channels_in, channels_out, 1, &p.at("model").at(1))?)
        } else {
            Self::Keep(Conv2d::new(channels_in, channels_out, 3, p)?)
        })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        match self {
            Self::Halve(conv) => tape.conv2d(&FusedConv2d { arrange: Rearrange::PixelUnshuffle2x, ..conv.of(x) }),
            Self::Keep(conv) => conv.forward(tape, x),
        }
    }
}
