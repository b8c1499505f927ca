//! Embeddings: rows of a table.

use candle_core::{Device, Result, Tensor};

use crate::device::backend::DeviceBackend;
use crate::device::upload::upload;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn embedding(backend: &DeviceBackend, table: &Tensor, rows: &[usize]) -> Result<Value> {
    let rows: Vec<i64> = rows.iter().map(|row| *row as i64).collect();
    let rows = upload(&Tensor::new(rows, &Device::Cpu)?, table.device())?;
    let out = backend.vector(table)?.index_select(&rows, 0)?;
    Ok(backend.push(out, &[], &[table], || {
        let table = table.clone();
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            let zeros = Tensor::zeros(table.shape(), grad.dtype(), grad.device())?;
            let sums = zeros.index_add(&rows, &grad, 0)?;
            gradients.add_parameter(&table, sums.to_dtype(table.dtype())?);
            Ok(())
        })
    }))
}
