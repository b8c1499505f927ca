//! Parameter updates in place: Adam, exponential moving averages, gradient norms.

use std::sync::{Mutex, PoisonError};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor, Var, bail};
use rayon::prelude::*;

use crate::candle_op::{Gradient, Values};
use crate::cpu;
use crate::cpu::reduce::sum_of;
use crate::cpu::vectorise::vectorise;

/// The numbers of one Adam step, computed by the caller in f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Decay β₁ of the first moment.
    pub beta1: f64,
    /// Decay β₂ of the second moment.
    pub beta2: f64,
    /// ε, added to the root of the corrected second moment.
    pub epsilon: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// 1 − β₁ᵏ at step k from 1.
    pub bias_correction1: f64,
    /// 1 − β₂ᵏ at step k from 1.
    pub bias_correction2: f64,
    /// What the gradient is multiplied by first: below 1 where its norm was clipped.
    pub gradient_scale: f64,
    /// λ added to the gradient as λ θ: the L2 penalty of Adam.
    pub coupled_weight_decay: f64,
    /// λ taken from the parameter as lr λ θ: the weight decay of AdamW.
    pub decoupled_weight_decay: f64,
}

/// What one parameter's step works on.
#[derive(Debug, Clone, Copy)]
pub struct AdamUpdate<'a> {
    /// θ
    pub parameter: &'a Var,
    /// m
    pub moment1: &'a Var,
    /// v
    pub moment2: &'a Var,
    /// g
    pub gradient: &'a Gradient,
}

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2) of every parameter, in
/// place, in one pass over its memory:
/// m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − lr (m / (1 − β₁ᵏ)) / (√(v / (1 − β₂ᵏ)) + ε).
///
/// # Shapes
/// All four of an update of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn adam_step(updates: &[AdamUpdate<'_>], step: AdamStep) -> Result<()> {
    updates.par_iter().try_for_each(|update| one_adam_step(update, step))
}

fn one_adam_step(update: &AdamUpdate<'_>, step: AdamStep) -> Result<()> {
    let AdamUpdate { parameter, moment1, moment2, gradient } = update;
    for (what, dims) in [("first moment", moment1.dims()), ("second moment", moment2.dims())] {
        if dims != parameter.dims() {
            bail!("adam_step: a parameter of shape {:?} and a {what} of shape {dims:?}", parameter.dims());
        }
    }
    let (rest1, rest2) = (1.0 - step.beta1, 1.0 - step.beta2);
    // θ − lr (m / c₁) / (√(v / c₂) + ε) = θ (1 − lr λ) − size m / (√v + ε √c₂)
    let size = step.learning_rate / step.bias_correction1 * step.bias_correction2.sqrt();
    let epsilon = step.epsilon * step.bias_correction2.sqrt();
    let kept = 1.0 - step.learning_rate * step.decoupled_weight_decay;
    if !cpu::takes(&[parameter, moment1, moment2]) {
        let Values::Tensor(gradient) = &gradient.0 else { bail!("adam_step: a gradient on the CPU") };
        let gradient = ((gradient * step.gradient_scale)? + (parameter.as_tensor() * step.coupled_weight_decay)?)?;
        moment1.set(&((moment1.as_tensor() * step.beta1)? + (&gradient * rest1)?)?)?;
        moment2.set(&((moment2.as_tensor() * step.beta2)? + (gradient.sqr()? * rest2)?)?)?;
        let change = (moment1.as_tensor() * size)?.div(&(moment2.sqrt()? + epsilon)?)?;
        return parameter.set(&((parameter.as_tensor() * kept)? - change)?);
    }
    let (beta1, beta2, rest1, rest2) = (step.beta1 as f32, step.beta2 as f32, rest1 as f32, rest2 as f32);
    let (kept, size, epsilon) = (kept as f32, size as f32, epsilon as f32);
    let (scale, decay) = (step.gradient_scale as f32, step.coupled_weight_decay as f32);
    gradient.with_values(|g| {
        if g.len() != parameter.elem_count() {
            bail!("adam_step: a parameter of {} elements and a gradient of {}", parameter.elem_count(), g.len());
        }
        with_mut(parameter, |p| {
            with_mut(moment1, |m| {
                with_mut(moment2, |v| {
                    let moments = m.par_chunks_mut(PART).zip(v.par_chunks_mut(PART));
                    let parts = p.par_chunks_mut(PART).zip(moments).zip(g.par_chunks(PART));
                    parts.for_each(|((p, (m, v)), g)| {
                        vectorise(
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
                    });
                    Ok(())
                })
            })
        })
    })
}

/// average ← decay · average + (1 − decay) · value, in place, of every pair (average, value).
///
/// # Shapes
/// Both of a pair of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn ema_step(pairs: &[(&Var, &Tensor)], decay: f64) -> Result<()> {
    let weight = (1.0 - decay) as f32;
    pairs.par_iter().try_for_each(|(average, value)| {
        if average.dims() != value.dims() {
            bail!("ema_step: an average of shape {:?} and a value of {:?}", average.dims(), value.dims());
        }
        if !cpu::takes(&[average, value]) {
            return average.set(&((average.as_tensor() * decay)? + (*value * (1.0 - decay))?)?);
        }
        cpu::with_slice(value, |value| {
            with_mut(average, |average| {
                average.par_chunks_mut(PART).zip(value.par_chunks(PART)).for_each(|(average, value)| {
                    vectorise(
                        #[inline(always)]
                        |_| {
                            // At weight 1 this is the value to the bit: a + (v − a) would round.
                            average.iter_mut().zip(value).for_each(|(a, v)| *a = *a * (1.0 - weight) + v * weight);
                        },
                    );
                });
                Ok(())
            })
        })
    })
}

/// Σ x² over all elements of each gradient, summed in f64 on the CPU.
///
/// # Errors
/// When a gradient is not of a floating type.
pub fn sums_of_squares(gradients: &[&Gradient]) -> Result<Vec<f64>> {
    gradients
        .par_iter()
        .map(|gradient| match &gradient.0 {
            Values::Tensor(x) if !cpu::takes(&[x]) => {
                x.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar()
            }
            _ => gradient.with_values(|values| {
                let parts: Vec<f64> =
                    values.par_chunks(PART).map(|part| vectorise(|_| sum_of(part, |v| v * v))).collect();
                Ok(parts.iter().sum())
            }),
        })
        .collect()
}

/// Elements a thread takes at a time.
const PART: usize = 1 << 16;

impl Gradient {
    fn with_values<R>(&self, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
        match &self.0 {
            Values::Buffer(values) => f(values),
            Values::Tensor(tensor) => cpu::with_slice(tensor, f),
        }
    }
}

/// Lends `f` the elements of a variable, to be changed.
fn with_mut<R>(var: &Var, f: impl FnOnce(&mut [f32]) -> Result<R>) -> Result<R> {
    struct Lend<F, R>(Mutex<(Option<F>, Option<R>)>);

    impl<R, F: FnOnce(&mut [f32]) -> Result<R>> InplaceOp1 for Lend<F, R> {
        fn name(&self) -> &'static str {
            "update"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
            let Some((start, end)) = layout.contiguous_offsets() else {
                return Err(candle_core::Error::RequiresContiguous { op: "update" }.bt());
            };
            let CpuStorage::F32(values) = storage else { bail!("update: expected f32") };
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
        None => bail!("update: not a variable on the CPU"),
    }
}
