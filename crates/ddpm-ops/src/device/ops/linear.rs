//! The fully connected layer.

use candle_core::{Result, Tensor};

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::primitives;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn linear(backend: &DeviceBackend, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let matrix = backend.vector(weight)?;
    let out = primitives::matmul(&x.tensor, &matrix.t()?)?.broadcast_add(&backend.vector(bias)?)?;
    Ok(backend.push(out, &[x.node], &[weight, bias], || {
        let (weight, bias) = (weight.clone(), bias.clone());
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            let by_weight = primitives::matmul(&grad.t()?, &x.tensor)?;
            gradients.add_parameter(&weight, by_weight.to_dtype(weight.dtype())?);
            gradients.add_parameter(&bias, grad.sum(0)?.to_dtype(bias.dtype())?);
            if x.node.is_some() {
                gradients.add(x.node, primitives::matmul(&grad, &matrix)?);
            }
            Ok(())
        })
    }))
}
