//! The sampling loop from x_T to x_0.

use std::ops::ControlFlow;

use candle_core::{DType, Tensor};
use ddpm_rng::ImageNoise;

use crate::dpm_solver::MultistepHistory;
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
pub(crate) const STATE_DTYPE: DType = DType::F64;

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
    sample_from(denoiser, diffusion, config, x_T, config.steps, noise, on_step)
}

/// The last `steps_left` of the steps of [`sample`]: samples from x at the noise level where they begin. That is x_T
/// for all steps, and [`SamplerConfig::noisy_start`] for an image that is edited.
///
/// With no steps left, x is returned as it is.
///
/// # Shapes
/// `x` as x_T of [`sample`].
///
/// # Errors
/// Those of [`sample`], and [`DiffusionError::Option`] if `steps_left` is more than `config.steps`.
pub fn sample_from(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    config: &SamplerConfig,
    x: &Tensor,
    steps_left: usize,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    check_shape("x_T", batch_axis(x), &[noise.images()])?;
    config.check_steps_left(steps_left)?;
    let context = SamplerContext::new(denoiser, x.dtype(), diffusion, config)?;
    sample_in(STATE_DTYPE, &context, x, steps_left, noise, on_step)
}

/// [`sample_from`] with x in the given dtype between steps.
pub(crate) fn sample_in(
    state_dtype: DType,
    context: &SamplerContext<'_>,
    start: &Tensor,
    steps_left: usize,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    let mut history = MultistepHistory::default();
    let mut x = start.to_dtype(state_dtype)?;
    for i in (0..steps_left).rev() {
        x = take_step(context, &x, i, noise, &mut history)?;
        let x_out = x.to_dtype(start.dtype())?;
        let timesteps_left = context.timesteps_left(i);
        let progress = SamplingProgress { steps_done: steps_left - i, steps: steps_left, timesteps_left, x: &x_out };
        if on_step(progress).is_break() && i > 0 {
            return Ok(Sampling::Stopped(x_out));
        }
    }
    Ok(Sampling::Finished(x.to_dtype(start.dtype())?))
}

/// x_{t−1} from x_t at step `i` of the respaced schedule, with the configured method. `history` holds the evaluations
/// of the steps before it, and is new where the sampling begins.
pub(crate) fn take_step(
    context: &SamplerContext<'_>,
    x: &Tensor,
    i: usize,
    noise: &mut ImageNoise,
    history: &mut MultistepHistory,
) -> Result<Tensor, DiffusionError> {
    match context.config.method {
        Method::Ddpm => ancestral::step(context, x, i, noise),
        Method::Ddim => ddim::step(context, x, i, noise),
        Method::DpmSolver | Method::DpmSolverSde => dpm_solver::step(context, x, i, noise, history),
        Method::Heun => heun::step(context, x, i),
    }
}
