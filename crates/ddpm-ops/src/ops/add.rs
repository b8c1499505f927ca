//! The sum of two values.

use candle_core::{Result, bail};

use crate::ops::tape::Tape;
use crate::tape::value::Value;

impl Tape {
    /// x + y, element by element.
    ///
    /// # Errors
    /// When the shapes differ.
    pub fn add(&self, x: &Value, y: &Value) -> Result<Value> {
        if x.dims() != y.dims() {
            bail!("add: expected two values of one shape, found {:?} and {:?}", x.dims(), y.dims());
        }
        self.backend.add(x, y)
    }
}
