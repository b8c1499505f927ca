//! Dropout, and products with constant masks.

use candle_core::{Device, Result, Tensor};

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::layout::to_channels_last;
use crate::device::primitives;
use crate::device::upload::upload;
use crate::tape::value::Value;

/// The dropped elements are a function of `seed`, so the backward step derives them again and no mask is stored.
pub(super) fn dropout(backend: &DeviceBackend, x: &Value, rate: f64, seed: u64) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let seed = backend.seed(seed)?;
    let out = primitives::dropout(&x.tensor, rate, &seed)?;
    Ok(backend.push_unary(&x, out, move |grad| primitives::dropout(&grad, rate, &seed)))
}

/// `mask` is in the order [batch, channel, …].
pub(super) fn mask(backend: &DeviceBackend, x: &Value, mask: Vec<f32>) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let mask = upload(&Tensor::from_vec(mask, x.dims.as_slice(), &Device::Cpu)?, x.tensor.device())?;
    let mask = to_channels_last(&mask.to_dtype(x.tensor.dtype())?)?;
    let out = (&x.tensor * &mask)?;
    Ok(backend.push_unary(&x, out, move |grad| grad * mask))
}
