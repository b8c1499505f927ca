//! Inversion of DDIM: x_T from which sampling returns to a given image (Song et al. 2021, section 5.4).

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};

use crate::sampler_context::SamplerContext;
use crate::sampling::STATE_DTYPE;
use crate::{Clipping, Denoiser, DiffusionError, GaussianDiffusion, Method, SamplerConfig, Sampling, SamplingProgress};

/// How exactly a step of DDIM is inverted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DdimInversion {
    /// The largest number of evaluations of the network in a step, at least 1. With one, ε is predicted at x_{t−1}
    /// instead of at x_t, as in Song et al. 2021.
    pub evaluations: usize,
    /// A step ends earlier if no value of x_t changes by more than this.
    pub tolerance: f64,
}

impl Default for DdimInversion {
    fn default() -> Self {
        Self { evaluations: 10, tolerance: 1e-5 }
    }
}

/// Finds x_T from which DDIM without noise and without clipping, with the steps and the spacing of `sampler`, samples
/// the images x_0.
///
/// A step of DDIM is x_{t−1} = a x_t + b ε̂(x_t). It is inverted by the fixed-point iteration
/// x_t ← (x_{t−1} − b ε̂(x_t)) / a, which begins at x_{t−1}. The method, η and clipping of `sampler` have no effect.
///
/// # Shapes
/// `x_0` [batch, channel, height, width]. The result is x_T of the same shape; `on_step` receives x_t.
///
/// # Errors
/// Those of [`sample`](crate::sample), and [`DiffusionError::Option`] for `inversion`.
pub fn ddim_invert(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    sampler: &SamplerConfig,
    inversion: &DdimInversion,
    x_0: &Tensor,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    let (field, found) = ("evaluations", inversion.evaluations as f64);
    if inversion.evaluations == 0 {
        return Err(DiffusionError::Option { field, expected: "a number from 1", found });
    }
    let sampler = sampler.for_inversion();
    let context = SamplerContext::new(denoiser, x_0.dtype(), diffusion, &sampler)?;
    let steps = sampler.steps;
    let mut x = x_0.to_dtype(STATE_DTYPE)?;
    for i in 0..steps {
        x = invert_step(&context, &x, i, inversion)?;
        let x_out = x.to_dtype(x_0.dtype())?;
        let timesteps_left = context.schedule().timestep(i) + 1;
        let progress = SamplingProgress { steps_done: i + 1, steps, timesteps_left, x: &x_out };
        if on_step(progress).is_break() && i + 1 < steps {
            return Ok(Sampling::Stopped(x_out));
        }
    }
    Ok(Sampling::Finished(x.to_dtype(x_0.dtype())?))
}

/// x_t at step `i` of the respaced schedule, from which a step of DDIM leads to `x_prev`.
fn invert_step(
    context: &SamplerContext<'_>,
    x_prev: &Tensor,
    i: usize,
    inversion: &DdimInversion,
) -> Result<Tensor, DiffusionError> {
    let schedule = context.schedule();
    let alpha_bar_prev = schedule.alpha_bar_prev(i);
    let a = alpha_bar_prev.sqrt() / schedule.sqrt_alpha_bar(i);
    let b = (1.0 - alpha_bar_prev).max(0.0).sqrt() - a * schedule.sqrt_one_minus_alpha_bar(i);
    let mut x = x_prev.clone();
    for _ in 0..inversion.evaluations {
        let eps = context.evaluate(&x, i)?.denoised.eps;
        let next = ((x_prev - (eps * b)?)? * a.recip())?;
        let change = (&next - &x)?.abs()?.max_all()?.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        x = next;
        if change <= inversion.tolerance {
            break;
        }
    }
    Ok(x)
}

impl SamplerConfig {
    /// The sampler that [`ddim_invert`] inverts: DDIM without noise and without clipping, with the steps and the
    /// spacing of this one.
    pub fn for_inversion(&self) -> Self {
        Self { method: Method::Ddim, eta: 0.0, clip: Clipping::None, ..*self }
    }
}
