//! Vectors of features: the fully connected layer, rows of a table, constants.

use candle_core::{Result, Tensor};

use super::{DeviceArray, primitives};
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    pub(crate) fn device_constant(&self, tensor: &Tensor, like: &DeviceArray) -> Result<Value> {
        self.device_leaf(&tensor.to_device(like.tensor.device())?, false)
    }

    pub(crate) fn device_linear(&self, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
        let x = x.device()?.clone();
        let matrix = self.vector(weight)?;
        let out = primitives::matmul(&x.tensor, &matrix.t()?)?.broadcast_add(&self.vector(bias)?)?;
        let node = x.node;
        Ok(self.push_device(out, &[node], &[weight, bias], || {
            let (weight, bias) = (weight.clone(), bias.clone());
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                let by_weight = primitives::matmul(&grad.t()?, &x.tensor)?;
                gradients.add_parameter(&weight, by_weight.to_dtype(weight.dtype())?);
                gradients.add_parameter(&bias, grad.sum(0)?.to_dtype(bias.dtype())?);
                if node.is_some() {
                    gradients.add(node, primitives::matmul(&grad, &matrix)?);
                }
                Ok(())
            })
        }))
    }

    pub(crate) fn device_embedding(&self, table: &Tensor, rows: &[usize]) -> Result<Value> {
        let rows: Vec<u32> = rows.iter().map(|row| *row as u32).collect();
        let rows = Tensor::new(rows, table.device())?;
        let out = self.vector(table)?.index_select(&rows, 0)?;
        Ok(self.push_device(out, &[], &[table], || {
            let table = table.clone();
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                let zeros = Tensor::zeros(table.shape(), grad.dtype(), grad.device())?;
                let sums = zeros.index_add(&rows, &grad, 0)?;
                gradients.add_parameter(&table, sums.to_dtype(table.dtype())?);
                Ok(())
            })
        }))
    }
}
