//! Dropout, and products with constant masks.

use candle_core::Result;

use crate::backend::dropout_source::DropoutSource;
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

/// `source` decides for each element in turn, in the order [batch, channel, …].
pub(super) fn dropout(backend: &CpuBackend, x: &Value, rate: f64, source: &mut dyn DropoutSource) -> Result<Value> {
    let scale = (1.0 / (1.0 - rate)) as f32;
    let elements: usize = x.dims().iter().product();
    mask(backend, x, (0..elements).map(|_| if source.drops(rate) { 0.0 } else { scale }).collect())
}

pub(super) fn mask(backend: &CpuBackend, x: &Value, mask: Vec<f32>) -> Result<Value> {
    let array = Array::of(x)?;
    let node = array.node;
    let out = product(&array.values, &mask);
    Ok(backend.push(out, x.dims(), &[node], &[], || {
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            gradients.add(node, product(&grad, &mask));
            Ok(())
        })
    }))
}

fn product(values: &[f32], mask: &[f32]) -> Buffer {
    let mut out = Buffer::new(values.len());
    out.iter_mut().zip(values).zip(mask).for_each(|((out, value), factor)| *out = value * factor);
    out
}
