//! Updates of parameters composed of candle's operations, on any device and in any floating-point type.

use candle_core::{DType, Result, Tensor, Var, bail};

use crate::backend::update::{AdamStep, AdamUpdate, UpdateBackend};
use crate::tape::gradient::Gradient;

/// Updates parameters with candle's operations. [`crate::DeviceUpdate`] does the same with three kernels for all
/// parameters.
#[derive(Debug)]
pub(crate) struct TensorUpdate;

impl UpdateBackend for TensorUpdate {
    fn adam_step(&self, update: &AdamUpdate<'_>, step: &AdamStep) -> Result<()> {
        let AdamUpdate { parameter, moment1, moment2, gradient } = update;
        let gradient = gradient.to_tensor(parameter)?;
        // θ − lr (m / c₁) / (√(v / c₂) + ε) = θ (1 − lr λ) − size m / (√v + ε √c₂)
        let size = step.learning_rate / step.bias_correction1 * step.bias_correction2.sqrt();
        let epsilon = step.epsilon * step.bias_correction2.sqrt();
        let decay_scale = 1.0 - step.learning_rate * step.decoupled_weight_decay;
        let gradient = ((gradient * step.gradient_scale)? + (parameter.as_tensor() * step.coupled_weight_decay)?)?;
        moment1.set(&((moment1.as_tensor() * step.beta1)? + (&gradient * (1.0 - step.beta1))?)?)?;
        moment2.set(&((moment2.as_tensor() * step.beta2)? + (gradient.sqr()? * (1.0 - step.beta2))?)?)?;
        let change = (moment1.as_tensor() * size)?.div(&(moment2.sqrt()? + epsilon)?)?;
        parameter.set(&((parameter.as_tensor() * decay_scale)? - change)?)
    }

    fn ema_step(&self, average: &Var, value: &Tensor, decay: f64) -> Result<()> {
        average.set(&((average.as_tensor() * decay)? + (value * (1.0 - decay))?)?)
    }

    fn sum_of_squares(&self, gradient: &Gradient) -> Result<f64> {
        tensor(gradient)?.sqr()?.sum_all()?.to_dtype(DType::F64)?.to_scalar()
    }

    fn concatenate(&self, gradients: &[&Gradient]) -> Result<Tensor> {
        let flat = |gradient: &&Gradient| tensor(gradient)?.flatten_all()?.to_dtype(DType::F32);
        let parts = gradients.iter().map(flat).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&parts, 0)?.contiguous()
    }
}

/// The tensor of a gradient.
fn tensor(gradient: &Gradient) -> Result<&Tensor> {
    match gradient.as_tensor() {
        Some(tensor) => Ok(tensor),
        None => bail!("expected a gradient on the parameter's device, found one of the CPU backend"),
    }
}
