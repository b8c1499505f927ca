//! The fully connected layer.

use candle_core::{Result, Tensor};

use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::gemm::{Strides, WriteMode, gemm};
use crate::cpu::tensor_slice::{with_slice, with_slices};
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn linear(backend: &CpuBackend, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
    let ((features_out, features_in), batch) = (weight.dims2()?, x.dims()[0]);
    let array = Array::of(x)?;
    let (row_in, row_out) = (Strides::row_major(features_in), Strides::row_major(features_out));
    let mut out = Buffer::new(batch * features_out);
    with_slices([weight, bias], |[weight, bias]| {
        out.chunks_exact_mut(features_out.max(1)).for_each(|row| row.copy_from_slice(bias));
        let (size, transposed) = ((batch, features_out, features_in), Strides::transposed(features_in));
        gemm(size, &mut out, row_out, WriteMode::Add, &array.values, row_in, weight, transposed, 1);
        Ok(())
    })?;
    Ok(backend.push(out, &[batch, features_out], &[array.node], &[weight, bias], || {
        let (weight, bias) = (weight.clone(), bias.clone());
        Box::new(move |grad: Buffer, gradients: &mut Gradients<Buffer>| {
            let mut to_weight = Buffer::new(features_out * features_in);
            let (size, transposed) = ((features_out, features_in, batch), Strides::transposed(features_out));
            gemm(size, &mut to_weight, row_in, WriteMode::Replace, &grad, transposed, &array.values, row_in, 1);
            let mut to_bias = Buffer::zeros(features_out);
            for row in grad.chunks_exact(features_out.max(1)) {
                to_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
            }
            if array.node.is_some() {
                let mut to_x = Buffer::new(batch * features_in);
                with_slice(&weight, |weight| {
                    let size = (batch, features_in, features_out);
                    gemm(size, &mut to_x, row_in, WriteMode::Replace, &grad, row_out, weight, row_in, 1);
                    Ok(())
                })?;
                gradients.add(array.node, to_x);
            }
            gradients.add_parameter(&weight, to_weight);
            gradients.add_parameter(&bias, to_bias);
            Ok(())
        })
    }))
}
