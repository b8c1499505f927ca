//! Scaling and shifting by constants.

use candle_core::Result;

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::tape::value::Value;

pub(super) fn affine(backend: &DeviceBackend, x: &Value, scale: f64, shift: f64) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let out = x.tensor.affine(scale, shift)?;
    Ok(backend.push_unary(&x, out, move |grad| grad.affine(scale, 0.0)))
}
