//! Group normalization.

use candle_core::{Result, Tensor};

use crate::backend::norm::Norm;
use crate::device::backend::{DeviceArray, DeviceBackend};
use crate::device::fused_norm::FusedNorm;
use crate::device::primitives;
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn group_norm(backend: &DeviceBackend, x: &Value, norm: &Norm<'_>, silu: bool) -> Result<Value> {
    let x = DeviceArray::of(x)?;
    let Norm { groups, eps, .. } = *norm;
    let (scale, shift) = (backend.vector(norm.weight)?, backend.vector(norm.bias)?);
    let fused = FusedNorm { groups, eps, silu, weight: &scale, bias: &shift, offset: None, residual: None };
    let (out, statistics) = primitives::group_norm(&x.tensor, &fused)?;
    Ok(backend.push(out, &[x.node], &[norm.weight, norm.bias], || {
        let (weight, bias) = (norm.weight.clone(), norm.bias.clone());
        Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
            let fused = FusedNorm { groups, eps, silu, weight: &scale, bias: &shift, offset: None, residual: None };
            let by = primitives::group_norm_backward(&x.tensor, &fused, &statistics, &grad)?;
            gradients.add_parameter(&weight, by.weight.to_dtype(weight.dtype())?);
            gradients.add_parameter(&bias, by.bias.to_dtype(bias.dtype())?);
            gradients.add(x.node, by.input);
            Ok(())
        })
    }))
}
