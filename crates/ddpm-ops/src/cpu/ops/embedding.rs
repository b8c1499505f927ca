//! Embeddings: rows of a table.

use candle_core::{Result, Tensor};

use crate::cpu::backend::CpuBackend;
use crate::cpu::buffer::Buffer;
use crate::cpu::tensor_slice::with_slice;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn embedding(backend: &CpuBackend, table: &Tensor, rows: &[usize]) -> Result<Value> {
    let (count, features) = table.dims2()?;
    let mut out = Buffer::new(rows.len() * features);
    with_slice(table, |table| {
        for (to, row) in out.chunks_exact_mut(features.max(1)).zip(rows) {
            to.copy_from_slice(&table[row * features..(row + 1) * features]);
        }
        Ok(())
    })?;
    Ok(backend.push(out, &[rows.len(), features], &[], &[table], || {
        let (table, rows) = (table.clone(), rows.to_vec());
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let mut to = Buffer::zeros(count * features);
            for (grad, row) in grad.chunks_exact(features.max(1)).zip(rows) {
                to[row * features..(row + 1) * features].iter_mut().zip(grad).for_each(|(to, grad)| *to += grad);
            }
            gradients.add_parameter(&table, to);
            Ok(())
        })
    }))
}
