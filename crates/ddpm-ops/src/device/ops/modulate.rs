//! Scaling and shifting by values of each channel of each image.

use candle_core::{Result, Tensor};

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::primitives;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn modulate(backend: &DeviceBackend, x: &Value, scale_and_shift: &Value) -> Result<Value> {
    let (x, by) = (DeviceArray::of(x)?, DeviceArray::of(scale_and_shift)?);
    let channels = x.dims[1];
    // Scales and shifts [batch, channel] as [batch, 1, …, channel], to be broadcast over the positions.
    let mut broadcast = vec![1; x.tensor.rank()];
    (broadcast[0], broadcast[x.tensor.rank() - 1]) = (x.dims[0], channels);
    let half = |i: usize| by.tensor.narrow(1, i * channels, channels)?.contiguous()?.reshape(broadcast.as_slice());
    let input = x.tensor.to_dtype(by.tensor.dtype())?;
    let factor = (half(0)? + 1.0)?;
    let out = input.broadcast_mul(&factor)?.broadcast_add(&half(1)?)?.to_dtype(x.tensor.dtype())?;
    let (nodes, dtype) = ([x.node, by.node], x.tensor.dtype());
    Ok(backend.push(out, &nodes, &[], || {
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            let grad = grad.to_dtype(factor.dtype())?;
            let [scale, shift] = [(&grad * &input)?, grad.clone()].map(|x| primitives::sums_over_positions(&x));
            gradients.add(nodes[1], Tensor::cat(&[scale?, shift?], 1)?);
            gradients.add(nodes[0], grad.broadcast_mul(&factor)?.to_dtype(dtype)?);
            Ok(())
        })
    }))
}
