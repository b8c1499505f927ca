//! Parameter updates in place: Adam, exponential moving averages, gradient norms.

use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, Var};
use rayon::prelude::*;

use crate::cpu;
use crate::reduce::sum_of;

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

/// One step of Adam (Kingma & Ba 2015, algorithm 1) or AdamW (Loshchilov & Hutter 2019, algorithm 2), in place:
/// m ← β₁ m + (1 − β₁) g, v ← β₂ v + (1 − β₂) g², θ ← θ − lr (m / (1 − β₁ᵏ)) / (√(v / (1 − β₂ᵏ)) + ε).
///
/// # Shapes
/// All four of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn adam_step(parameter: &Var, moment1: &Var, moment2: &Var, gradient: &Tensor, step: AdamStep) -> Result<()> {
    for (what, dims) in
        [("first moment", moment1.dims()), ("second moment", moment2.dims()), ("gradient", gradient.dims())]
    {
        if dims != parameter.dims() {
            candle_core::bail!("adam_step: a parameter of shape {:?} and a {what} of shape {dims:?}", parameter.dims());
        }
    }
    let gradient = match step.coupled_weight_decay {
        0.0 => gradient.contiguous()?,
        decay => ((gradient * step.gradient_scale)? + (parameter.as_tensor() * decay)?)?.contiguous()?,
    };
    let scale = if step.coupled_weight_decay == 0.0 { step.gradient_scale } else { 1.0 };
    let (rest1, rest2) = (1.0 - step.beta1, 1.0 - step.beta2);
    // θ − lr (m / c₁) / (√(v / c₂) + ε) = θ (1 − lr λ) − size m / (√v + ε √c₂)
    let size = step.learning_rate / step.bias_correction1 * step.bias_correction2.sqrt();
    let epsilon = step.epsilon * step.bias_correction2.sqrt();
    let kept = 1.0 - step.learning_rate * step.decoupled_weight_decay;
    if cpu::takes(&[parameter, moment1, moment2, &gradient]) {
        let (keep1, add1) = (step.beta1 as f32, (rest1 * scale) as f32);
        moment1.inplace_op2(&gradient, &Update2(move |m: &mut f32, g: f32| *m = *m * keep1 + g * add1))?;
        let (keep2, add2) = (step.beta2 as f32, (rest2 * scale * scale) as f32);
        moment2.inplace_op2(&gradient, &Update2(move |v: &mut f32, g: f32| *v = *v * keep2 + g * g * add2))?;
        let (kept, size, epsilon) = (kept as f32, size as f32, epsilon as f32);
        let update = move |p: &mut f32, m: f32, v: f32| *p = *p * kept - size * m / (v.sqrt() + epsilon);
        return parameter.inplace_op3(moment1, moment2, &Update3(update));
    }
    moment1.set(&((moment1.as_tensor() * step.beta1)? + (&gradient * (rest1 * scale))?)?)?;
    moment2.set(&((moment2.as_tensor() * step.beta2)? + (gradient.sqr()? * (rest2 * scale * scale))?)?)?;
    let change = (moment1.as_tensor() * size)?.div(&(moment2.sqrt()? + epsilon)?)?;
    parameter.set(&((parameter.as_tensor() * kept)? - change)?)
}

/// average ← decay · average + (1 − decay) · value, in place.
///
/// # Shapes
/// Both of one shape.
///
/// # Errors
/// When the shapes differ.
pub fn ema_step(average: &Var, value: &Tensor, decay: f64) -> Result<()> {
    if average.dims() != value.dims() {
        candle_core::bail!("ema_step: an average of shape {:?} and a value of {:?}", average.dims(), value.dims());
    }
    if cpu::takes(&[average, value]) {
        let weight = (1.0 - decay) as f32;
        // At weight 1 this is the value to the bit: a + (v − a) would round.
        let update = move |a: &mut f32, v: f32| *a = *a * (1.0 - weight) + v * weight;
        return average.inplace_op2(&value.contiguous()?, &Update2(update));
    }
    average.set(&((average.as_tensor() * decay)? + (value * (1.0 - decay))?)?)
}

/// Σ x² over all elements, summed in f64 on the CPU.
///
/// # Errors
/// When `x` is not of a floating type.
pub fn sum_of_squares(x: &Tensor) -> Result<f64> {
    if cpu::takes(&[x]) {
        let arch = pulp::Arch::new();
        return cpu::with_slice(x, |values| {
            let parts: Vec<f64> = values.par_chunks(PART).map(|p| arch.dispatch(|| sum_of(p, |v| v * v))).collect();
            Ok(parts.iter().sum())
        });
    }
    x.sqr()?.sum_all()?.to_dtype(candle_core::DType::F64)?.to_scalar()
}

/// Elements a thread takes at a time.
const PART: usize = 1 << 16;

/// Updates each element of the first tensor from that of the second.
struct Update2<F>(F);

impl<F: Fn(&mut f32, f32) + Sync> InplaceOp2 for Update2<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, a: &mut CpuStorage, la: &Layout, b: &CpuStorage, lb: &Layout) -> Result<()> {
        let (a, b) = (slice_mut(a, la)?, cpu::slice(b, lb)?);
        let arch = pulp::Arch::new();
        a.par_chunks_mut(PART).zip(b.par_chunks(PART)).for_each(|(a, b)| {
            arch.dispatch(|| a.iter_mut().zip(b).for_each(|(a, b)| self.0(a, *b)));
        });
        Ok(())
    }
}

/// Updates each element of the first tensor from those of the second and third.
struct Update3<F>(F);

impl<F: Fn(&mut f32, f32, f32) + Sync> InplaceOp3 for Update3<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(
        &self,
        a: &mut CpuStorage,
        la: &Layout,
        b: &CpuStorage,
        lb: &Layout,
        c: &CpuStorage,
        lc: &Layout,
    ) -> Result<()> {
        let (a, b, c) = (slice_mut(a, la)?, cpu::slice(b, lb)?, cpu::slice(c, lc)?);
        let arch = pulp::Arch::new();
        a.par_chunks_mut(PART).zip(b.par_chunks(PART)).zip(c.par_chunks(PART)).for_each(|((a, b), c)| {
            arch.dispatch(|| a.iter_mut().zip(b).zip(c).for_each(|((a, b), c)| self.0(a, *b, *c)));
        });
        Ok(())
    }
}

fn slice_mut<'a>(storage: &'a mut CpuStorage, layout: &Layout) -> Result<&'a mut [f32]> {
    let Some((start, end)) = layout.contiguous_offsets() else {
        return Err(candle_core::Error::RequiresContiguous { op: "update" }.bt());
    };
    match storage {
        CpuStorage::F32(values) => Ok(&mut values[start..end]),
        _ => candle_core::bail!("update: expected f32"),
    }
}
