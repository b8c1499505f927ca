//! Concatenation of channels.

use candle_core::{Result, Tensor};

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn concat(backend: &DeviceBackend, parts: &[&Value]) -> Result<Value> {
    let parts = parts.iter().map(|part| DeviceArray::of(part)).collect::<Result<Vec<_>>>()?;
    let tensors: Vec<&Tensor> = parts.iter().map(|part| &part.tensor).collect();
    let axis = tensors[0].rank() - 1;
    let out = Tensor::cat(&tensors, axis)?;
    let channels: Vec<_> = parts.iter().map(|part| (part.node, part.dims[1])).collect();
    let nodes: Vec<_> = parts.iter().map(|part| part.node).collect();
    Ok(backend.push(out, &nodes, &[], || {
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            let mut from = 0;
            for (node, channels) in channels {
                if node.is_some() {
                    gradients.add(node, grad.narrow(axis, from, channels)?.contiguous()?);
                }
                from += channels;
            }
            Ok(())
        })
    }))
}
