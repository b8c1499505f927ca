//! From x_T to x_0, step by step, by any method.

use std::ops::ControlFlow;

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::error::{batch, check_shape};
use crate::sampler_context::SamplerContext;
use crate::{Denoiser, DiffusionError, GaussianDiffusion, Method, SamplerConfig, ancestral, ddim, dpm_solver, heun};

/// Where a sampling is, told after every step.
#[derive(Debug)]
pub struct SamplingProgress<'a> {
    /// Steps taken, from 1.
    pub done: usize,
    /// Steps in all.
    pub steps: usize,
    /// How many steps of the schedule the network was trained with are still before x_0: 0 after the last step.
    pub time_left: usize,
    /// x at this point, [image, channel, height, width].
    pub x: &'a Tensor,
}

/// What a sampling came to.
#[derive(Debug, Clone)]
pub enum Sampling {
    /// x_0.
    Finished(Tensor),
    /// The callback stopped it: x as it was then.
    Stopped(Tensor),
}

/// Draws images from x_T down to x_0 by the method of `config`.
///
/// z is the next draw of each image's own stream, so an image does not depend on the others of its batch. Where
/// `config.steps` is fewer than the schedule has, the steps are a respaced subset (Nichol & Dhariwal 2021, section 4).
/// `on_step` may stop the sampling after any step.
///
/// # Shapes
/// `x_T` [image, channel, height, width] with as many images as `noise` has streams.
///
/// # Errors
/// Those of [`SamplerConfig::respaced`]; when the images are not as many as the streams, the denoiser's output has neither the shape of
/// x nor twice its channels, a learnt variance is asked for that it has not, or the denoiser fails.
#[allow(non_snake_case, reason = "x_T is the papers' symbol")]
pub fn sample(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    config: &SamplerConfig,
    x_T: &Tensor,
    noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    check_shape("x_T", batch(x_T), &[noise.images()])?;
    let context = SamplerContext::new(denoiser, diffusion, config)?;
    let mut memory = dpm_solver::Memory::default();
    let mut x = x_T.clone();

    for i in (0..config.steps).rev() {
        x = match config.method {
            Method::Ddpm => ancestral::step(&context, &x, i, noise)?,
            Method::Ddim => ddim::step(&context, &x, i, noise)?,
            Method::DpmSolver | Method::DpmSolverSde => dpm_solver::step(&context, &x, i, noise, &mut memory)?,
            Method::Heun => heun::step(&context, &x, i)?,
        };
        let time_left = if i == 0 { 0 } else { context.schedule().timestep(i - 1) + 1 };
        let progress = SamplingProgress { done: config.steps - i, steps: config.steps, time_left, x: &x };
        if on_step(progress).is_break() && i > 0 {
            return Ok(Sampling::Stopped(x));
        }
    }
    Ok(Sampling::Finished(x))
}
