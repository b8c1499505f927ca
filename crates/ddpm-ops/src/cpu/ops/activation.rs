//! Activation functions and their derivatives.

use candle_core::Result;
use rayon::prelude::*;

use crate::backend::activation::Activation;
use crate::cpu::backend::{Array, CpuBackend};
use crate::cpu::buffer::Buffer;
use crate::cpu::exp::{exp, sigmoid};
use crate::cpu::vectorize::{Fma, vectorize};
use crate::tape::gradients::Gradients;
use crate::tape::value::Value;

pub(super) fn activation(backend: &CpuBackend, x: &Value, activation: Activation) -> Result<Value> {
    match activation {
        Activation::Silu => elementwise(
            backend,
            x,
            |fma, x| x * sigmoid(fma, x),
            |fma, x| {
                let s = sigmoid(fma, x);
                s + x * s * (1.0 - s)
            },
        ),
        Activation::Gelu => elementwise(
            backend,
            x,
            |_, x| x * normal_cdf(x),
            |_, x| {
                let density = (-0.5 * f64::from(x).powi(2)).exp() / (2.0 * std::f64::consts::PI).sqrt();
                normal_cdf(x) + x * density as f32
            },
        ),
        Activation::Mish => elementwise(
            backend,
            x,
            |fma, x| x * tanh_of_softplus(fma, x),
            |fma, x| {
                let t = tanh_of_softplus(fma, x);
                t + x * (1.0 - t * t) * sigmoid(fma, x)
            },
        ),
        Activation::Relu => {
            elementwise(backend, x, |_, x| if x > 0.0 { x } else { 0.0 }, |_, x| if x > 0.0 { 1.0 } else { 0.0 })
        }
    }
}

/// Number of elements that a thread processes at a time.
const CHUNK: usize = 1 << 12;

/// A function of every element, given with its derivative.
fn elementwise(
    backend: &CpuBackend,
    x: &Value,
    function: impl Fn(Fma, f32) -> f32 + Sync,
    derivative: impl Fn(Fma, f32) -> f32 + Send + Sync + 'static,
) -> Result<Value> {
    let array = Array::of(x)?;
    let mut out = Buffer::new(array.values.len());
    out.par_chunks_mut(CHUNK).zip(array.values.par_chunks(CHUNK)).for_each(|(out, x)| {
        vectorize(
            #[inline(always)]
            |fma| {
                for (out, x) in out.iter_mut().zip(x) {
                    *out = function(fma, *x);
                }
            },
        );
    });
    Ok(backend.push(out, x.dims(), &[array.node], &[], || {
        Box::new(move |mut grad: Buffer, gradients: &mut Gradients<Buffer>| {
            grad.par_chunks_mut(CHUNK).zip(array.values.par_chunks(CHUNK)).for_each(|(grad, x)| {
                vectorize(
                    #[inline(always)]
                    |fma| {
                        for (grad, x) in grad.iter_mut().zip(x) {
                            *grad *= derivative(fma, *x);
                        }
                    },
                );
            });
            gradients.add(array.node, grad);
            Ok(())
        })
    }))
}

/// tanh(ln(1 + e^x)) = (u² + 2u) / (u² + 2u + 2) with u = e^x.
#[inline(always)]
fn tanh_of_softplus(fma: Fma, x: f32) -> f32 {
    // At 20 the result is 1 in f32; the bound keeps u² from overflowing.
    let u = exp(fma, if x > 20.0 { 20.0 } else { x });
    let v = u * (u + 2.0);
    v / (v + 2.0)
}

/// Φ, the distribution function of the standard normal distribution.
fn normal_cdf(x: f32) -> f32 {
    (0.5 * libm::erfc(-f64::from(x) * std::f64::consts::FRAC_1_SQRT_2)) as f32
}
