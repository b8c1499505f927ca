//! Downsampling by pixel unshuffle.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Rearrange, Tape, Value};

use crate::layers::Conv2d;

/// Halves height and width: pixel unshuffle (every 2 × 2 block of pixels becomes four channels) and a 1 × 1
/// convolution.
#[derive(Debug, Clone)]
pub struct UnshuffleDownsample {
    conv: Conv2d,
}

impl UnshuffleDownsample {
    /// A downsampling with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameters.
    pub fn new(channels_in: usize, channels_out: usize, vb: VarBuilder<'_>) -> Result<Self> {
        // In the article's `Sequential`, module 0 is the rearrangement.
        Ok(Self { conv: Conv2d::new(4 * channels_in, channels_out, 1, vb.pp("model").pp(1))? })
    }

    /// [batch, channels_in, height, width] to [batch, channels_out, height / 2, width / 2].
    ///
    /// # Errors
    /// When height or width is odd, or when `x` has another number of channels.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.conv2d(&FusedConv2d { arrange: Rearrange::PixelUnshuffle2x, ..self.conv.fused(x) })
    }
}
