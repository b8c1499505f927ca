//! The steps at which a `TrajectoryRecorder` records x.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use ddpm_diffusion::{
    Clipping, DiffusionError, GaussianDiffusion, Method, SamplerConfig, Sampling, SamplingProgress, TrajectoryRecorder,
    sample,
};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};

/// Samples `steps` of 100 timesteps and records every 30. Returns the timesteps that were left at each recorded x, the
/// recorded x, and x_0.
fn record(steps: usize) -> (Vec<usize>, Vec<Tensor>, Tensor) {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 100).unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let config = SamplerConfig::new(Method::Ddpm, Clipping::None, VarianceKind::FixedLarge, steps, Spacing::Trailing);
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 3);
    let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
    let mut recorder = TrajectoryRecorder::new(&latents, 100, 30, 2).unwrap();
    let zero = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let (mut recorded, mut timesteps_left) = (1, vec![100]);
    let mut on_step = |progress: SamplingProgress<'_>| {
        recorder.record(&progress).unwrap();
        let now = recorder.clone().into_images().len();
        if now > recorded {
            timesteps_left.push(progress.timesteps_left);
        }
        recorded = now;
        ControlFlow::Continue(())
    };
    let sampling = sample(&zero, &diffusion, &config, &latents, &mut noise, &mut on_step).unwrap();
    let Sampling::Finished(x_0) = sampling else { panic!("the callback does not stop the run") };
    let images = recorder.into_images();
    assert_eq!(first(&images[0]), first(&latents));
    (timesteps_left, images, x_0)
}

fn first(x: &Tensor) -> Vec<Vec<Vec<f32>>> {
    x.get(0).unwrap().to_vec3().unwrap()
}

#[test]
fn x_is_recorded_at_multiples_of_the_interval_and_at_x_0() {
    let (timesteps_left, images, x_0) = record(100);
    assert_eq!(timesteps_left, [100, 70, 40, 10, 0]);
    assert!(images.iter().all(|x| x.dims() == [2, 1, 2, 2]));
    assert_eq!(first(&images[4]), first(&x_0));
}

#[test]
fn a_respaced_run_records_the_first_step_past_a_multiple() {
    // The steps start with 100, 75, 50 and 25 timesteps left. The multiples 70, 40 and 10 are passed at 50, 25 and 0.
    let (timesteps_left, images, _) = record(4);
    assert_eq!(timesteps_left, [100, 50, 25, 0]);
    assert_eq!(images.len(), 4);
}

#[test]
fn an_interval_of_0_is_an_error() {
    let x = Tensor::zeros((1, 1, 2, 2), candle_core::DType::F32, &Device::Cpu).unwrap();
    assert!(matches!(TrajectoryRecorder::new(&x, 100, 0, 1), Err(DiffusionError::RecordInterval)));
}
