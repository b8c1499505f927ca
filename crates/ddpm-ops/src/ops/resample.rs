//! Halving and doubling of height and width, without a convolution.

use candle_core::{Result, bail};

use crate::backend::resample::Resample;
use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// Halves or doubles height and width.
    ///
    /// # Shapes
    /// [batch, channel, height, width]; height and width have to be even to be halved.
    ///
    /// # Errors
    /// When `x` has another number of axes, or an odd height or width is to be halved.
    pub fn resample(&self, x: &Value, resample: Resample) -> Result<Value> {
        let (_, _, height, width) = x.dims4()?;
        if resample != Resample::Nearest && !(height.is_multiple_of(2) && width.is_multiple_of(2)) {
            bail!("resample: expected an even height and width, found {height}×{width}");
        }
        self.backend.resample(x, resample)
    }
}
