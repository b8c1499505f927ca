//! Updates of f32 parameters on the CPU, in one pass over their memory.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::backend::update::{AdamStep, AdamUpdate, UpdateBackend};
use crate::cpu::gradient::with_elements;
use crate::cpu::reduce::sum_of;
use crate::cpu::tensor_slice::with_slice;
use crate::cpu::vectorize::vectorize;
use crate::tape::gradient::Gradient;

/// Updates f32 parameters on the CPU.
#[derive(Debug)]
pub(crate) struct SliceUpdate;

/// Number of elements that a thread processes at a time.
const CHUNK: usize = 1 << 16;

impl UpdateBackend for SliceUpdate {
    fn adam_step(&self, update: &AdamUpdate<'_>, step: &AdamStep) -> Result<()> {
        let AdamUpdate { parameter, moment1, moment2, gradient } = update;
        let coefficients = Coefficients::new(step);
        with_elements(gradient, |g| {
            with_mut(parameter, |p| {
                with_mut(moment1, |m| {
                    with_mut(moment2, |v| {
                        let moments = m.par_chunks_mut(CHUNK).zip(v.par_chunks_mut(CHUNK));
                        let chunks = p.par_chunks_mut(CHUNK).zip(moments).zip(g.par_chunks(CHUNK));
                        chunks.for_each(|((p, (m, v)), g)| coefficients.apply(p, m, v, g));
                        Ok(())
                    })
                })
            })
        })
    }

    fn ema_step(&self, average: &Var, value: &Tensor, decay: f64) -> Result<()> {
        let weight = (1.0 - decay) as f32;
        with_slice(value, |value| {
            with_mut(average, |average| {
                average.par_chunks_mut(CHUNK).zip(value.par_chunks(CHUNK)).for_each(|(average, value)| {
                    vectorize(
                        #[inline(always)]
                        |_| {
                            // With weight 1 this is exactly the value, where a + (v − a) would round.
                            average.iter_mut().zip(value).for_each(|(a, v)| *a = *a * (1.0 - weight) + v * weight);
                        },
                    );
                });
                Ok(())
            })
        })
    }

    fn sum_of_squares(&self, gradient: &Gradient) -> Result<f64> {
        with_elements(gradient, |values| {
            let chunks = values.par_chunks(CHUNK);
            let sums: Vec<f64> = chunks.map(|chunk| vectorize(|_| sum_of(chunk, |v| v * v))).collect();
            Ok(sums.iter().sum())
        })
    }

    fn concatenate(&self, gradients: &[&Gradient]) -> Result<Tensor> {
        let count: usize = gradients.iter().map(|gradient| gradient.elem_count()).sum();
        let mut elements = Vec::with_capacity(count);
        for gradient in gradients {
            with_elements(gradient, |values| {
                elements.extend_from_slice(values);
                Ok(())
            })?;
        }
        Tensor::from_vec(elements, count, &Device::Cpu)
    }
}

/// The coefficients of an Adam step in f32, arranged so that an element costs one division and one square root:
/// θ − lr (m / c₁) / (√(v / c₂) + ε) = θ (1 − lr λ) − size m / (√v + ε √c₂).
#[derive(Debug, Clone, Copy)]
struct Coefficients {
    beta1: f32,
    beta2: f32,
    /// 1 − β₁
    rest1: f32,
    /// 1 − β₂
    rest2: f32,
    /// 1 − lr λ, of AdamW's weight decay
    kept: f32,
    size: f32,
    epsilon: f32,
    gradient_scale: f32,
    coupled_weight_decay: f32,
}

impl Coefficients {
    fn new(step: &AdamStep) -> Self {
        Self {
            beta1: step.beta1 as f32,
            beta2: step.beta2 as f32,
            rest1: (1.0 - step.beta1) as f32,
            rest2: (1.0 - step.beta2) as f32,
            kept: (1.0 - step.learning_rate * step.decoupled_weight_decay) as f32,
            size: (step.learning_rate / step.bias_correction1 * step.bias_correction2.sqrt()) as f32,
            epsilon: (step.epsilon * step.bias_correction2.sqrt()) as f32,
            gradient_scale: step.gradient_scale as f32,
            coupled_weight_decay: step.coupled_weight_decay as f32,
        }
    }

    /// Updates some elements of a parameter and of its moments.
    fn apply(self, p: &mut [f32], m: &mut [f32], v: &mut [f32], g: &[f32]) {
        let Self { beta1, beta2, rest1, rest2, kept, size, epsilon, .. } = self;
        let (scale, decay) = (self.gradient_scale, self.coupled_weight_decay);
        vectorize(
            #[inline(always)]
            |_| {
                for ((p, g), (m, v)) in p.iter_mut().zip(g).zip(m.iter_mut().zip(&mut *v)) {
                    let g = g * scale + *p * decay;
                    *m = *m * beta1 + g * rest1;
                    *v = *v * beta2 + g * g * rest2;
                    *p = *p * kept - size * *m / (v.sqrt() + epsilon);
                }
            },
        );
    }
}

/// Calls `f` with the elements of a variable, which it may change.
fn with_mut<R>(var: &Var, f: impl FnOnce(&mut [f32]) -> Result<R>) -> Result<R> {
    /// candle lends an operation the storage by a shared reference to the operation; the mutex makes `f` callable once.
    struct Lend<F, R>(Mutex<(Option<F>, Option<R>)>);

    impl<R, F: FnOnce(&mut [f32]) -> Result<R>> InplaceOp1 for Lend<F, R> {
        fn name(&self) -> &'static str {
            "update"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let Some((start, end)) = layout.contiguous_offsets() else {
                return Err(candle_core::Error::RequiresContiguous { op: "update" }.bt());
            };
            let CpuStorage::F32(values) = storage else { bail!("update: expected a variable of f32") };
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(f) = slot.0.take() {
                slot.1 = Some(f(&mut values[start..end])?);
            }
            Ok(())
        }
    }

    let lend = Lend(Mutex::new((Some(f), None)));
    var.inplace_op1(&lend)?;
    match lend.0.into_inner().unwrap_or_else(PoisonError::into_inner).1 {
        Some(result) => Ok(result),
        None => bail!("update: expected a variable on the CPU"),
    }
}
