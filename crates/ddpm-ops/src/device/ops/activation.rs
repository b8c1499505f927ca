//! Activation functions of every element.

use candle_core::Result;

use crate::backend::activation::Activation;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::primitives;
use crate::tape::value::Value;

pub(super) fn activation(backend: &DeviceBackend, x: &Value, activation: Activation) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let out = primitives::activation(activation, &x.tensor)?;
    let input = x.tensor.clone();
    Ok(backend.push_unary(&x, out, move |grad| primitives::activation_backward(activation, &input, &grad)))
}
