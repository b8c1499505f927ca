//! The sum of two values.

use candle_core::{Result, Tensor};

use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn add(backend: &DeviceBackend, x: &Value, y: &Value) -> Result<Value> {
    let (x, y) = (DeviceArray::of(x)?, DeviceArray::of(y)?);
    let nodes = [x.node, y.node];
    Ok(backend.push((&x.tensor + &y.tensor)?, &nodes, &[], || {
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            nodes.into_iter().for_each(|node| gradients.add(node, grad.clone()));
            Ok(())
        })
    }))
}
