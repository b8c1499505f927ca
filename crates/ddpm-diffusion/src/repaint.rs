//! RePaint: inpainting with an unconditional model (Lugmayr et al. 2022).

use std::ops::ControlFlow;

use candle_core::Tensor;
use ddpm_rng::ImageNoise;

use crate::dpm_solver::MultistepHistory;
use crate::error::{batch_axis, check_shape};
use crate::sampler_context::{SamplerContext, draw_noise};
use crate::sampling::{STATE_DTYPE, take_step};
use crate::{Denoiser, DiffusionError, GaussianDiffusion, SamplerConfig, Sampling, SamplingProgress};

/// What is inpainted, and how often steps are repeated.
#[derive(Debug, Clone)]
pub struct Repaint {
    /// The images, [batch, channel, height, width] in [−1, 1].
    pub x_0: Tensor,
    /// 1 where a pixel is known and 0 where it is painted, [batch, 1, height, width].
    pub known: Tensor,
    /// The number of steps that are taken back, and then again (j of the paper, whose default is 10), at least 1.
    pub jump_length: usize,
    /// How often each step is taken (r of the paper, whose default is 10), at least 1: 1 never goes back.
    pub resamplings: usize,
}

/// Paints the unknown pixels of images so that they fit the known ones, which the result reproduces exactly.
///
/// Every step to x_{t−1} replaces the known pixels by a draw of q(x_{t−1} | x_0) (Lugmayr et al. 2022, algorithm 1,
/// line 4). To harmonize the two, x is taken back by `jump_length` steps of the forward process and denoised again,
/// `resamplings` times. Every method can be used.
///
/// `noise` is that of [`sample`](crate::sample); `known_noise` is the noise of the known pixels and of the steps back.
///
/// DIFFERENCE: diffusers' `RePaintScheduler` uses the noise of a step for known and unknown pixels alike, and adds the
/// noise of all timesteps of the schedule between two steps when it goes back; here it is one draw with the same
/// distribution.
///
/// # Shapes
/// `x_T` [batch, channel, height, width], with as many images as both sources of noise.
///
/// # Errors
/// Those of [`sample`](crate::sample); [`DiffusionError::Option`] and [`DiffusionError::Shape`] for `config`.
#[allow(non_snake_case, reason = "x_T is the papers' symbol")]
#[expect(clippy::too_many_arguments, reason = "those of `sample`, the images and their noise")]
pub fn repaint(
    denoiser: &dyn Denoiser,
    diffusion: &GaussianDiffusion,
    sampler: &SamplerConfig,
    config: &Repaint,
    x_T: &Tensor,
    noise: &mut ImageNoise,
    known_noise: &mut ImageNoise,
    on_step: &mut dyn FnMut(SamplingProgress<'_>) -> ControlFlow<()>,
) -> Result<Sampling, DiffusionError> {
    config.validate(x_T)?;
    check_shape("x_T", batch_axis(x_T), &[noise.images()])?;
    check_shape("x_T", batch_axis(x_T), &[known_noise.images()])?;
    let context = SamplerContext::new(denoiser, x_T.dtype(), diffusion, sampler)?;
    let (x_0, known) = (config.x_0.to_dtype(STATE_DTYPE)?, config.known.to_dtype(STATE_DTYPE)?);
    let known = known.broadcast_as(x_0.shape())?;
    let unknown = known.affine(-1.0, 1.0)?;

    let order = step_order(sampler.steps, config.jump_length, config.resamplings);
    let steps = Repaint::steps(sampler.steps, config.jump_length, config.resamplings);
    let mut history = MultistepHistory::default();
    let mut x = x_T.to_dtype(STATE_DTYPE)?;
    let mut steps_done = 0;
    for step in order {
        let i = match step {
            Move::Denoise(i) => i,
            Move::Back(i) => {
                // x_t ~ q(x_t | x_{t−1}). The evaluations so far belong to another trajectory.
                let alpha = context.schedule().alpha(i);
                let z = draw_noise(known_noise, &x)?;
                x = ((x * alpha.sqrt())? + (z * (1.0 - alpha).sqrt())?)?;
                history = MultistepHistory::default();
                continue;
            }
        };
        let painted = take_step(&context, &x, i, noise, &mut history)?;
        let kept = if i == 0 {
            x_0.clone()
        } else {
            let z = draw_noise(known_noise, &x)?;
            context.diffusion.q_sample(&x_0, &vec![i - 1; x_0.dim(0)?], &z)?
        };
        x = ((kept * &known)? + (painted * &unknown)?)?;
        steps_done += 1;
        let x_out = x.to_dtype(x_T.dtype())?;
        let progress = SamplingProgress { steps_done, steps, timesteps_left: context.timesteps_left(i), x: &x_out };
        if on_step(progress).is_break() && steps_done < steps {
            return Ok(Sampling::Stopped(x_out));
        }
    }
    Ok(Sampling::Finished(x.to_dtype(x_T.dtype())?))
}

impl Repaint {
    /// Number of times that [`repaint()`] calls `on_step` with a sampler of `steps` steps: the evaluations of the
    /// network, with a method that evaluates it once in a step.
    pub fn steps(steps: usize, jump_length: usize, resamplings: usize) -> usize {
        let order = step_order(steps, jump_length.max(1), resamplings.max(1));
        order.iter().filter(|step| matches!(step, Move::Denoise(_))).count()
    }

    #[allow(non_snake_case, reason = "x_T is the papers' symbol")]
    fn validate(&self, x_T: &Tensor) -> Result<(), DiffusionError> {
        let at_least_1 = |field, found: usize| match found {
            0 => Err(DiffusionError::Option { field, expected: "a number from 1", found: 0.0 }),
            _ => Ok(()),
        };
        at_least_1("jump_length", self.jump_length)?;
        at_least_1("resamplings", self.resamplings)?;
        check_shape("x_0", self.x_0.dims(), x_T.dims())?;
        let (batch, _, height, width) = x_T.dims4()?;
        check_shape("known", self.known.dims(), &[batch, 1, height, width])
    }
}

/// A move along the respaced schedule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Move {
    /// The sampling step at this index: from x at it to x at the index before.
    Denoise(usize),
    /// The forward process to x at this index.
    Back(usize),
}

/// The order of the steps (Lugmayr et al. 2022, appendix C): after every `jump_length` steps, x goes back as many and
/// is denoised again, `resamplings` times.
fn step_order(steps: usize, jump_length: usize, resamplings: usize) -> Vec<Move> {
    // Where x goes back, and how often it still does.
    let jumps = (0..steps.saturating_sub(jump_length)).step_by(jump_length);
    let mut left: std::collections::BTreeMap<usize, usize> = jumps.map(|at| (at, resamplings - 1)).collect();
    let (mut order, mut i) = (Vec::new(), steps);
    while i > 0 {
        i -= 1;
        order.push(Move::Denoise(i));
        if let Some(jumps) = left.get_mut(&i).filter(|jumps| **jumps > 0) {
            *jumps -= 1;
            for _ in 0..jump_length {
                order.push(Move::Back(i));
                i += 1;
            }
        }
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_taken_back_and_again() {
        use Move::{Back, Denoise};
        let order = step_order(3, 1, 2);
        let expected = [Denoise(2), Denoise(1), Back(1), Denoise(1), Denoise(0), Back(0), Denoise(0)];
        assert_eq!(order, expected);
        assert_eq!(step_order(3, 1, 1), [Denoise(2), Denoise(1), Denoise(0)]);
        // 250 steps with the defaults of the paper, as in diffusers: 4,570 moves.
        assert_eq!(step_order(250, 10, 10).len(), 4570);
    }
}
