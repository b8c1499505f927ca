//! Elementwise functions: activations, and the mask of dropout.

use std::sync::Arc;

use candle_core::{Result, Tensor, bail};
use rayon::prelude::*;

use crate::buffer::Buffer;
use crate::exp::sigmoid;
use crate::tape::{Gradients, Tape, Value};
use crate::vectorise::vectorise;

impl Tape {
    /// SiLU, x ↦ x σ(x), of every element.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn silu(&self, x: &Value) -> Result<Value> {
        self.each(
            x,
            Tensor::silu,
            |x| x * sigmoid(x),
            |x| {
                let s = sigmoid(x);
                s + x * s * (1.0 - s)
            },
        )
    }

    /// GELU in its exact form, x ↦ x Φ(x) with the normal distribution function Φ, of every element.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn gelu(&self, x: &Value) -> Result<Value> {
        self.each(
            x,
            Tensor::gelu_erf,
            |x| x * normal_cdf(x),
            |x| {
                let density = (-0.5 * f64::from(x).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
                normal_cdf(x) + x * density as f32
            },
        )
    }

    /// Every element times that of a constant mask.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value> {
        if mask.len() != x.dims().iter().product::<usize>() {
            bail!("mask: {} factors for {:?}", mask.len(), x.dims());
        }
        let Some(array) = x.fused().cloned() else {
            let x = x.composed()?;
            let mask = Tensor::from_vec(mask, x.shape(), x.device())?.to_dtype(x.dtype())?;
            return Ok(x.mul(&mask)?.into());
        };
        let times = |values: &[f32], mask: &[f32]| {
            let mut out = Buffer::new(values.len());
            out.iter_mut().zip(values).zip(mask).for_each(|((out, value), factor)| *out = value * factor);
            out
        };
        let out = times(&array.values, &mask);
        Ok(self.push(Arc::new(out), &array.dims, &[array.node], &[], || {
            Box::new(move |grad: Buffer, gradients: &mut Gradients| {
                gradients.add(array.node, times(&grad, &mask));
                Ok(())
            })
        }))
    }

    fn each(
        &self,
        x: &Value,
        composed: impl FnOnce(&Tensor) -> Result<Tensor>,
        function: impl Fn(f32) -> f32 + Sync,
        slope: impl Fn(f32) -> f32 + Send + Sync + 'static,
    ) -> Result<Value> {
        let Some(array) = x.fused().cloned() else { return Ok(composed(&x.composed()?)?.into()) };
        let mut out = Buffer::new(array.values.len());
        out.par_chunks_mut(PART).zip(array.values.par_chunks(PART)).for_each(|(out, x)| {
            vectorise(
                #[inline(always)]
                || out.iter_mut().zip(x).for_each(|(out, x)| *out = function(*x)),
            );
        });
        let dims = array.dims.clone();
        Ok(self.push(Arc::new(out), &dims, &[array.node], &[], || {
            Box::new(move |mut grad: Buffer, gradients: &mut Gradients| {
                grad.par_chunks_mut(PART).zip(array.values.par_chunks(PART)).for_each(|(grad, x)| {
                    vectorise(
                        #[inline(always)]
                        || grad.iter_mut().zip(x).for_each(|(grad, x)| *grad *= slope(*x)),
                    );
                });
                gradients.add(array.node, grad);
                Ok(())
            })
        }))
    }
}

/// Elements a thread takes at a time.
const PART: usize = 1 << 12;

/// Φ, the distribution function of the standard normal distribution.
fn normal_cdf(x: f32) -> f32 {
    (0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2)) as f32
}
