//! The fully connected layer.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};

use crate::cpu;
use crate::cpu::buffer::Buffer;
use crate::cpu::gemm::{Into, Strides, gemm};
use crate::tape::{Gradients, Tape, Value};

impl Tape {
    /// x Wᵀ + b.
    ///
    /// # Shapes
    /// `x` [batch, feature_in], `weight` [feature_out, feature_in], `bias` `[feature_out]`; the result is [batch, feature_out].
    ///
    /// # Errors
    /// When the shapes do not fit.
    pub fn linear(&self, x: &Value, weight: &Tensor, bias: &Tensor) -> Result<Value> {
        let (features_out, features_in) = weight.dims2()?;
        if x.dims().len() != 2 || x.dims()[1] != features_in || bias.dims() != [features_out] {
            bail!("linear: an input of {:?}, a weight of {:?}, a bias of {:?}", x.dims(), weight.dims(), bias.dims());
        }
        let batch = x.dims()[0];
        let Some(array) = x.fused().cloned() else { return self.device_linear(x, weight, bias) };
        let (row_in, row_out) = (Strides::row_major(features_in), Strides::row_major(features_out));
        let turned_in = Strides::transposed(features_in);
        let mut out = Buffer::new(batch * features_out);
        cpu::with_slices([weight, bias], |[weight, bias]| {
            out.chunks_exact_mut(features_out.max(1)).for_each(|row| row.copy_from_slice(bias));
            let size = (batch, features_out, features_in);
            gemm(size, &mut out, row_out, Into::Add, &array.values, row_in, weight, turned_in, 1);
            Ok(())
        })?;
        Ok(self.push(Arc::new(out), &[batch, features_out], &[array.node], &[weight, bias], || {
            let (weight, bias) = (weight.clone(), bias.clone());
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                let mut to_weight = Buffer::new(features_out * features_in);
                let turned_out = Strides::transposed(features_out);
                let size = (features_out, features_in, batch);
                gemm(size, &mut to_weight, row_in, Into::Replace, &grad, turned_out, &array.values, row_in, 1);
                let mut to_bias = Buffer::zeros(features_out);
                for row in grad.chunks_exact(features_out.max(1)) {
                    to_bias.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
                }
                if array.node.is_some() {
                    let mut to_x = Buffer::new(batch * features_in);
                    cpu::with_slice(&weight, |weight| {
                        let size = (batch, features_in, features_out);
                        gemm(size, &mut to_x, row_in, Into::Replace, &grad, row_out, weight, row_in, 1);
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
}
