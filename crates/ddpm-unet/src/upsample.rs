//! Doubling height and width.

use candle_core::Result;
use ddpm_ops::{FusedConv2d, Rearrange, Tape, Value};

use crate::layers::Conv2d;
use crate::parameters::Parameters;

/// The article's last layer of an up block: nearest upsampling and a 3 × 3 convolution, or, at the highest level, the
/// convolution alone.
#[derive(Debug)]
pub(crate) struct Upsample {
    conv: Conv2d,
    double: bool,
}

impl Upsample {
    pub(crate) fn new(channels_in: usize, channels_out: usize, double: bool, p: &Parameters<'_>) -> Result<Self> {
        // model.0 is the upsampling.
        let p = if double { p.at("model").at(1) } else { p.clone() };
        Ok(Self { conv: Conv2d::new(channels_in, channels_out, 3, &p)?, double })
    }

    pub(crate) fn forward(&self, tape: &Tape, x: &Value) -> Result<Value> {
        let arrange = if self.double { Rearrange::UpsampleNearest2x } else { Rearrange::AsIs };
        tape.conv2d(&FusedConv2d { arrange, ..self.conv.of(x) })
    }
}
