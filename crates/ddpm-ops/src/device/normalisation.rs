//! Group normalisation with what surrounds it.

use candle_core::{Result, Tensor};

use super::{kernels, primitives};
use crate::tape::{Gradients, Tape, Value};

/// What surrounds a normalisation: silu(norm(y + offset)) + residual.
#[derive(Debug, Clone, Copy)]
pub(super) struct Surroundings<'a> {
    pub(super) groups: usize,
    pub(super) eps: f64,
    pub(super) silu: bool,
    /// Scale and shift, `[channel]`, wide.
    pub(super) weight: &'a Tensor,
    pub(super) bias: &'a Tensor,
    /// [batch, channel], wide: a convolution's biases.
    pub(super) offset: Option<&'a Tensor>,
    pub(super) residual: Option<&'a Tensor>,
}

/// What a normalisation's gradient needs besides its input.
#[derive(Debug)]
pub(super) enum Statistics {
    /// What the kernels kept.
    Kept(kernels::Statistics),
    /// Nothing: it is computed again.
    Again,
}

/// The gradient of a normalisation by everything but the residual, whose is that of the result.
#[derive(Debug)]
pub(super) struct Gradient {
    pub(super) input: Tensor,
    /// [batch, channel], wide.
    pub(super) offset: Tensor,
    /// `[channel]`, wide.
    pub(super) weight: Tensor,
    pub(super) bias: Tensor,
}

impl Tape {
    pub(crate) fn device_group_norm(
        &self,
        x: &Value,
        groups: usize,
        weight: &Tensor,
        bias: &Tensor,
        eps: f64,
        silu: bool,
    ) -> Result<Value> {
        let x = x.device()?.clone();
        let (scale, shift) = (self.vector(weight)?, self.vector(bias)?);
        let around = Surroundings { groups, eps, silu, weight: &scale, bias: &shift, offset: None, residual: None };
        let (out, statistics) = primitives::normalisation(&x.tensor, &around)?;
        let node = x.node;
        Ok(self.push_device(out, &[node], &[weight, bias], || {
            let (weight, bias) = (weight.clone(), bias.clone());
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                let around =
                    Surroundings { groups, eps, silu, weight: &scale, bias: &shift, offset: None, residual: None };
                let by = primitives::normalisation_by_all(&x.tensor, &around, &statistics, &grad)?;
                gradients.add_parameter(&weight, by.weight.to_dtype(weight.dtype())?);
                gradients.add_parameter(&bias, by.bias.to_dtype(bias.dtype())?);
                gradients.add(node, by.input);
                Ok(())
            })
        }))
    }
}
