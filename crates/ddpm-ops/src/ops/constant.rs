//! Constants of a forward pass.

use candle_core::{Result, Tensor};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// The value of a tensor that no gradient is computed of, in the type and on the device that the pass computes in.
    ///
    /// # Errors
    /// When candle cannot convert the tensor.
    pub fn constant(&self, tensor: &Tensor) -> Result<Value> {
        self.backend.leaf(tensor, false)
    }
}
