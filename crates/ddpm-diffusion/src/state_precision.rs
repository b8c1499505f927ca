//! Measures the effect of the dtype of x between sampling steps: f32 against f64.
//!
//! `cargo test -p ddpm-diffusion state_precision -- --nocapture` prints the table of `docs/design.md`.

use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};

use crate::sampler_context::SamplerContext;
use crate::sampling::sample_in;
use crate::{Clipping, GaussianDiffusion, Method, SamplerConfig, Sampling};

/// A smooth denoiser, nearly the optimal one for data N(0.3, 0.2²), that computes in `network_dtype`.
fn denoiser(
    diffusion: &GaussianDiffusion,
    network_dtype: DType,
) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let (mean, variance) = (0.3, 0.04);
    let schedule = diffusion.schedule().clone();
    move |x_t, t| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let x = x_t.to_dtype(network_dtype)?;
        let total_variance = schedule.alpha_bar(i) * variance + schedule.one_minus_alpha_bar(i);
        let centered = (&x - schedule.sqrt_alpha_bar(i) * mean)?;
        let optimal = (centered * (schedule.sqrt_one_minus_alpha_bar(i) / total_variance))?;
        (optimal + ((x * 3.0)?.sin()? * 0.05)?)?.to_dtype(x_t.dtype())
    }
}

/// x_0 of two images, sampled with x in `state_dtype` between steps and the network in `network_dtype`.
fn x_0(diffusion: &GaussianDiffusion, config: &SamplerConfig, state_dtype: DType, network_dtype: DType) -> Tensor {
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 2);
    let latents = noise.draw(&[3, 16, 16], &Device::Cpu).unwrap().to_dtype(state_dtype).unwrap();
    let denoiser = denoiser(diffusion, network_dtype);
    let context = SamplerContext::new(&denoiser, state_dtype, diffusion, config).unwrap();
    let on_step = &mut |_: crate::SamplingProgress<'_>| ControlFlow::Continue(());
    match sample_in(state_dtype, &context, &latents, config.steps, &mut noise, on_step).unwrap() {
        Sampling::Finished(x_0) => x_0.to_dtype(DType::F64).unwrap(),
        Sampling::Stopped(_) => panic!("the callback does not stop the run"),
    }
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f64 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

#[test]
fn an_f64_state_is_closer_to_f64_arithmetic_than_an_f32_state() {
    println!("schedule  method          steps  f32 state  f64 state (largest error of x_0 against f64 arithmetic)");
    let rules = [
        ("linear", BetaSchedule::Linear { start: 1e-4, end: 0.02 }),
        ("cosine", BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 }),
    ];
    let (mut largest_f32, mut largest_f64) = (0.0f64, 0.0f64);
    for (name, rule) in rules {
        let diffusion = GaussianDiffusion::new(Schedule::new(&rule, 1000).unwrap());
        for method in [Method::Ddpm, Method::Ddim, Method::DpmSolver, Method::Heun] {
            for steps in [10, 50, 250, 1000] {
                let variance = VarianceKind::FixedLarge;
                let config = SamplerConfig::new(method, Clipping::Fixed, variance, steps, Spacing::Leading);
                let exact = x_0(&diffusion, &config, DType::F64, DType::F64);
                let error = |state| largest_difference(&x_0(&diffusion, &config, state, DType::F32), &exact);
                let (with_f32, with_f64) = (error(DType::F32), error(DType::F64));
                println!("{name:8}  {method:14}  {steps:5}  {with_f32:9.1e}  {with_f64:9.1e}");
                (largest_f32, largest_f64) = (largest_f32.max(with_f32), largest_f64.max(with_f64));
            }
        }
    }
    assert!(largest_f64 < largest_f32, "f64 state: {largest_f64:e}, f32 state: {largest_f32:e}");
}
