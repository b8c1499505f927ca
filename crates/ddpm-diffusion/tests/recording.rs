//! Which moments of a sampling are kept.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_diffusion::{Clipping, DiffusionError, GaussianDiffusion, Method, Recording, SamplerConfig, Sampling, sample};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};

/// The moments of a sampling of `steps` out of 100, recorded every 30: where each was taken, x there, and the last x.
fn record(steps: usize) -> (Vec<usize>, Vec<Tensor>, Tensor) {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 100).unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let config = SamplerConfig::new(Method::Ddpm, Clipping::None, VarianceKind::FixedLarge, steps, Spacing::Trailing);
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 3);
    let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
    let mut recording = Recording::new(&latents, 100, 30, 2).unwrap();
    let silent = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let (mut kept, mut at) = (1, vec![100]);
    let mut on_step = |progress: ddpm_diffusion::SamplingProgress<'_>| {
        recording.observe(&progress).unwrap();
        let now = recording.clone().into_moments().len();
        if now > kept {
            at.push(progress.time_left);
        }
        kept = now;
        ControlFlow::Continue(())
    };
    let sampling = sample(&silent, &diffusion, &config, &latents, &mut noise, &mut on_step).unwrap();
    let Sampling::Finished(x_0) = sampling else { panic!("nobody stopped it") };
    let moments = recording.into_moments();
    assert_eq!(first(&moments[0]), first(&latents));
    (at, moments, x_0)
}

fn first(x: &Tensor) -> Vec<Vec<Vec<f32>>> {
    x.get(0).unwrap().to_vec3().unwrap()
}

#[test]
fn moments_lie_on_multiples_and_end_with_x_0() {
    let (at, moments, x_0) = record(100);
    assert_eq!(at, [100, 70, 40, 10, 0]);
    assert!(moments.iter().all(|x| x.dims() == [2, 1, 2, 2]));
    assert_eq!(first(&moments[4]), first(&x_0));
}

#[test]
fn a_subset_of_the_steps_keeps_the_first_that_passes() {
    // Steps 100, 75, 50 and 25 are left before each; 30, 60 and 90 done are passed at 50, 25 and 0 left.
    let (at, moments, _) = record(4);
    assert_eq!(at, [100, 50, 25, 0]);
    assert_eq!(moments.len(), 4);
}

#[test]
fn every_0th_step_is_an_error() {
    let x = Tensor::zeros((1, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(Recording::new(&x, 100, 0, 1), Err(DiffusionError::RecordEvery)));
}
