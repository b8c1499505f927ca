//! Scaling and shifting by constants.

use candle_core::Result;

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// x · scale + shift, with two constants.
    ///
    /// # Errors
    /// When the backend fails.
    pub fn affine(&self, x: &Value, scale: f64, shift: f64) -> Result<Value> {
        self.backend.affine(x, scale, shift)
    }
}
