//! Element by element: activations, masks, sums, scales and shifts.

use candle_core::{Result, Tensor};

use super::primitives;
use crate::tape::{Gradients, Tape, Value};

/// A function of one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Silu,
    Gelu,
    Mish,
    Relu,
}

impl Tape {
    pub(crate) fn device_function(&self, x: &Value, f: Function) -> Result<Value> {
        let x = x.device()?.clone();
        let out = primitives::function(f, &x.tensor)?;
        let input = x.tensor.clone();
        Ok(self.push_unary(&x, out, move |grad| primitives::function_by_input(f, &input, &grad)))
    }

    pub(crate) fn device_dropout(&self, x: &Value, rate: f64, seed: u64) -> Result<Value> {
        let x = x.device()?;
        let out = primitives::dropout(&x.tensor, rate, seed)?;
        Ok(self.push_unary(x, out, move |grad| primitives::dropout(&grad, rate, seed)))
    }

    /// `mask` in the order of [batch, channel, …].
    pub(crate) fn device_mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value> {
        let x = x.device()?;
        let mask = Tensor::from_vec(mask, x.dims.as_slice(), x.tensor.device())?;
        let mask = super::to_channels_last(&mask.to_dtype(x.tensor.dtype())?)?;
        let out = (&x.tensor * &mask)?;
        Ok(self.push_unary(x, out, move |grad| grad * mask))
    }

    pub(crate) fn device_affine(&self, x: &Value, scale: f64, shift: f64) -> Result<Value> {
        let x = x.device()?;
        Ok(self.push_unary(x, x.tensor.affine(scale, shift)?, move |grad| grad.affine(scale, 0.0)))
    }

    pub(crate) fn device_add(&self, x: &Value, y: &Value) -> Result<Value> {
        let (x, y) = (x.device()?, y.device()?);
        let nodes = [x.node, y.node];
        Ok(self.push_device((&x.tensor + &y.tensor)?, &nodes, &[], || {
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                nodes.into_iter().for_each(|node| gradients.add(node, grad.clone()));
                Ok(())
            })
        }))
    }

    pub(crate) fn device_modulate(&self, x: &Value, scale_and_shift: &Value) -> Result<Value> {
        let (x, by) = (x.device()?.clone(), scale_and_shift.device()?.clone());
        let channels = x.dims[1];
        let mut spread = vec![1; x.tensor.rank()];
        (spread[0], spread[x.tensor.rank() - 1]) = (x.dims[0], channels);
        let part = |i: usize| by.tensor.narrow(1, i * channels, channels)?.contiguous()?.reshape(spread.as_slice());
        let input = x.tensor.to_dtype(by.tensor.dtype())?;
        let factor = (part(0)? + 1.0)?;
        let out = input.broadcast_mul(&factor)?.broadcast_add(&part(1)?)?.to_dtype(x.tensor.dtype())?;
        let (nodes, dtype) = ([x.node, by.node], x.tensor.dtype());
        Ok(self.push_device(out, &nodes, &[], || {
            Box::new(move |grad: Tensor, gradients: &mut Gradients<Tensor>| {
                let grad = grad.to_dtype(factor.dtype())?;
                let sums = [(&grad * &input)?, grad.clone()].map(|of| primitives::sums_over_positions(&of));
                let [scale, shift] = sums;
                gradients.add(nodes[1], Tensor::cat(&[scale?, shift?], 1)?);
                gradients.add(nodes[0], grad.broadcast_mul(&factor)?.to_dtype(dtype)?);
                Ok(())
            })
        }))
    }
}
