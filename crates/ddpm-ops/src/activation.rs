//! Elementwise functions: activations, and the mask of dropout.

use std::sync::Arc;

use candle_core::{Result, bail};
use rayon::prelude::*;

use crate::cpu::buffer::Buffer;
use crate::cpu::exp::{exp, sigmoid};
use crate::cpu::vectorise::{Fma, vectorise};
use crate::device::Function;
use crate::tape::{Gradients, Tape, Value};

/// Where dropout has its randomness from.
pub trait DropoutSource {
    /// Whether the next element is dropped, with probability `rate`.
    fn drops(&mut self, rate: f64) -> bool;
    /// A seed of 64 random bits, for all elements of a tensor.
    fn seed(&mut self) -> u64;
}

impl Tape {
    /// SiLU, x ↦ x σ(x), of every element.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn silu(&self, x: &Value) -> Result<Value> {
        self.each(
            x,
            Function::Silu,
            |fma, x| x * sigmoid(fma, x),
            |fma, x| {
                let s = sigmoid(fma, x);
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
            Function::Gelu,
            |_, x| x * normal_cdf(x),
            |_, x| {
                let density = (-0.5 * f64::from(x).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
                normal_cdf(x) + x * density as f32
            },
        )
    }

    /// Mish, x ↦ x tanh(ln(1 + e^x)) (Misra 2019), of every element.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn mish(&self, x: &Value) -> Result<Value> {
        self.each(
            x,
            Function::Mish,
            |fma, x| x * tanh_of_softplus(fma, x),
            |fma, x| {
                let t = tanh_of_softplus(fma, x);
                t + x * (1.0 - t * t) * sigmoid(fma, x)
            },
        )
    }

    /// x ↦ max(x, 0) of every element.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn relu(&self, x: &Value) -> Result<Value> {
        self.each(x, Function::Relu, |_, x| if x > 0.0 { x } else { 0.0 }, |_, x| if x > 0.0 { 1.0 } else { 0.0 })
    }

    /// Each element with probability `rate` 0, else by 1 / (1 − rate) larger (Srivastava et al. 2014).
    ///
    /// On the CPU `source` says of each element in turn whether it is dropped; on a device which ones are is a function of one
    /// seed of it.
    ///
    /// # Errors
    /// When candle's operation fails.
    pub fn dropout(&self, x: &Value, rate: f64, source: &mut impl DropoutSource) -> Result<Value> {
        if x.fused().is_none() {
            return self.device_dropout(x, rate, source.seed());
        }
        let kept = (1.0 / (1.0 - rate)) as f32;
        let elements: usize = x.dims().iter().product();
        self.mask(x, (0..elements).map(|_| if source.drops(rate) { 0.0 } else { kept }).collect())
    }

    /// Every element times that of a constant mask.
    ///
    /// # Errors
    /// When there are not as many.
    pub fn mask(&self, x: &Value, mask: Vec<f32>) -> Result<Value> {
        if mask.len() != x.dims().iter().product::<usize>() {
            bail!("mask: {} factors for {:?}", mask.len(), x.dims());
        }
        let Some(array) = x.fused().cloned() else { return self.device_mask(x, mask) };
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
        on_device: Function,
        function: impl Fn(Fma, f32) -> f32 + Sync,
        slope: impl Fn(Fma, f32) -> f32 + Send + Sync + 'static,
    ) -> Result<Value> {
        let Some(array) = x.fused().cloned() else { return self.device_function(x, on_device) };
        let mut out = Buffer::new(array.values.len());
        out.par_chunks_mut(PART).zip(array.values.par_chunks(PART)).for_each(|(out, x)| {
            vectorise(
                #[inline(always)]
                |fma| {
                    for (out, x) in out.iter_mut().zip(x) {
                        *out = function(fma, *x);
                    }
                },
            );
        });
        let dims = array.dims.clone();
        Ok(self.push(Arc::new(out), &dims, &[array.node], &[], || {
            Box::new(move |mut grad: Buffer, gradients: &mut Gradients| {
                grad.par_chunks_mut(PART).zip(array.values.par_chunks(PART)).for_each(|(grad, x)| {
                    vectorise(
                        #[inline(always)]
                        |fma| {
                            for (grad, x) in grad.iter_mut().zip(x) {
                                *grad *= slope(fma, *x);
                            }
                        },
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

/// tanh(ln(1 + e^x)) = (u² + 2u) / (u² + 2u + 2) with u = e^x.
#[inline(always)]
fn tanh_of_softplus(fma: Fma, x: f32) -> f32 {
    // From 20 on it is 1 in f32, and below u² does not overflow.
    let u = exp(fma, if x > 20.0 { 20.0 } else { x });
    let v = u * (u + 2.0);
    v / (v + 2.0)
}

/// Φ, the distribution function of the standard normal distribution.
fn normal_cdf(x: f32) -> f32 {
    (0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2)) as f32
}
