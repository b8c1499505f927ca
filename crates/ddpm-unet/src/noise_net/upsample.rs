//! Nearest-neighbor upsampling.

use candle_core::Result;
use candle_nn::VarBuilder;
use ddpm_ops::{FusedConv2d, Rearrange, Tape, Value};

use crate::layers::Conv2d;

/// Doubles height and width: nearest-neighbor upsampling and a 3 × 3 convolution.
#[derive(Debug, Clone)]
pub struct NearestUpsample {
    conv: Conv2d,
}

impl NearestUpsample {
    /// An upsampling with the parameters that `vb` provides.
    ///
    /// # Errors
    /// When `vb` cannot provide the parameters.
    pub fn new(channels_in: usize, channels_out: usize, vb: VarBuilder<'_>) -> Result<Self> {
        // In the article's `Sequential`, module 0 is the upsampling.
        Ok(Self { conv: Conv2d::new(channels_in, channels_out, 3, vb.pp("model").pp(1))? })
    }

    /// [batch, channels_in, height, width] to [batch, channels_out, 2 · height, 2 · width].
    ///
    /// # Errors
    /// When `x` has another number of channels.
    pub fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        tape.conv2d(&FusedConv2d { arrange: Rearrange::UpsampleNearest2x, ..self.conv.fused(x) })
    }
}
