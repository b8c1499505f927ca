//! The sampling loop from x_T to x_0.

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use ddpm_rng::ImageNoise;

use crate::error::{batch_axis, check_shape};
use crate::sampler_context::SamplerContext;
use crate::{Denoiser, DiffusionError, GaussianDiffusion, Method, SamplerConfig, ancestral, ddim, dpm_solver, heun};

/// The state of a sampling run after a step, as passed to the callback of [`sample`].
#[derive(Debug)]
pub struct SamplingProgress<'a> {
    /// Number of steps taken, from 1.
    pub steps_done: usize,
    /// Number of steps of the whole run.
    pub steps: usize,
    /// Number of timesteps between x and x_0 in the schedule that the network was trained with; 0 after the last step.
    pub timesteps_left: usize,
    /// x after the step, [image, channel, height, width], in the dtype of x_T.
    pub x: &'a Tensor,
}

/// The result of [`sample`].
#[derive(Debug, Clone)]
pub enum Sampling {
    /// x_0, after all steps.
    Finished(Tensor),
    /// x after the step at which the callback stopped the run.
    Stopped(Tensor),
}

/// The dtype of x between steps. In f32 the rounding errors of all steps accumulate; the test in `state_precision.rs`
/// measures by how much.
const STATE_DTYPE: DType = DType::F64;

/// Samples images from x_T to x_0 with the method of `config`.
///
/// If `config.steps` is less than the length of the schedule, the timesteps are a respaced subset (Nichol & Dhariwal
/// 2021, section 4). The noise of an image comes from its own stream, so an image does not depend on the other images
/// of its batch. `on_step` is called after every step and may stop the run.
///
/// x is kept in f64 between steps, as in the samplers of Karras et al. 2022, and all coefficients are f64. The network
/// receives x in the dtype of `x_T`, which is also the dtype of the result.
///
/// # Shapes
/// `x_T` [image, channel, height, width] with as many images as `noise` has streams.
///
/// # Errors
/// The errors of [`SamplerConfig::respaced`]; [`DiffusionError::Shape`] if the number of images is not the number of
/// streams, or the output of the network has neither the shape of x nor twice its channels;
/// [`DiffusionError::NoVariance`] if the configuration uses a learned variance that the network does not predict; and
/// the errors of the denoiser.
#[allow(non_snake_case, reason = "x_T is the papers' symbol")]
pub fn sample(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    config: &SamplerConfig,
    x_T: &Tensor,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    check_shape("x_T", batch_axis(x_T), &[noise.images()])?;
    let context = SamplerContext::new(denoiser, x_T.dtype(), diffusion, config)?;
    sample_in(STATE_DTYPE, &context, x_T, noise, on_step)
}

/// [`sample`] with x in the given dtype between steps.
#[allow(non_snake_case, reason = "x_T is the papers' symbol")]
pub(crate) fn sample_in(
    state_dtype: DType,
    context: &SamplerContext<'_>,
    x_T: &Tensor,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    let steps = context.config.steps;
    let mut history = dpm_solver::MultistepHistory::default();
    let mut x = x_T.to_dtype(state_dtype)?;

    for i in (0..steps).rev() {
        x = match context.config.method {
            Method::Ddpm => ancestral::step(context, &x, i, noise)?,
            Method::Ddim => ddim::step(context, &x, i, noise)?,
            Method::DpmSolver | Method::DpmSolverSde => dpm_solver::step(context, &x, i, noise, &mut history)?,
            Method::Heun => heun::step(context, &x, i)?,
        };
        let x_out = x.to_dtype(x_T.dtype())?;
        let timesteps_left = if i == 0 { 0 } else { context.schedule().timestep(i - 1) + 1 };
        let progress = SamplingProgress { steps_done: steps - i, steps, timesteps_left, x: &x_out };
        if on_step(progress).is_break() && i > 0 {
            return Ok(Sampling::Stopped(x_out));
        }
    }
    Ok(Sampling::Finished(x.to_dtype(x_T.dtype())?))
}
