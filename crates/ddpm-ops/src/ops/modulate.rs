//! Scaling and shifting by values of each channel of each image.

use candle_core::{Result, bail};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// x (1 + scale) + shift, with a scale and a shift for each channel of each image (Nichol & Dhariwal 2021,
    /// "scale-shift norm").
    ///
    /// # Shapes
    /// `x` [batch, channel, …]; `scale_and_shift` [batch, 2 channel], all scales of an image before its shifts.
    ///
    /// # Errors
    /// When the shapes do not fit together.
    pub fn modulate(&self, x: &Value, scale_and_shift: &Value) -> Result<Value> {
        let &[batch, channels, ..] = x.dims() else {
            bail!("modulate: expected [batch, channel, …], found {:?}", x.dims())
        };
        if scale_and_shift.dims() != [batch, 2 * channels] {
            let found = scale_and_shift.dims();
            bail!("modulate: expected scales and shifts of [{batch}, {}], found {found:?}", 2 * channels);
        }
        self.backend.modulate(x, scale_and_shift)
    }
}
