//! The sum of two values.

use candle_core::Result;

use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::gradient::add_to;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn add(backend: &CpuBackend, x: &Value, y: &Value) -> Result<Value> {
    let (a, b) = (Array::of(x)?, Array::of(y)?);
    let mut out = Buffer::copy_of(&a.values);
    add_to(&mut out, &b.values);
    let nodes = [a.node, b.node];
    Ok(backend.push(out, x.dims(), &nodes, &[], || {
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            if nodes[1].is_some() {
                gradients.add(nodes[1], Buffer::copy_of(&grad));
            }
            gradients.add(nodes[0], grad);
            Ok(())
        })
    }))
}
