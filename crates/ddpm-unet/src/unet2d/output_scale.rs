//! The scale of a block's output.

use candle_core::Result;
use ddpm_ops::{Tape, Value};

/// `x` / `output_scale_factor`, without an operation for a factor of 1.
pub(super) fn divide(tape: &Tape, x: Value, output_scale_factor: f64) -> Result<Value> {
    if output_scale_factor == 1.0 { Ok(x) } else { tape.affine(&x, 1.0 / output_scale_factor, 0.0) }
}
