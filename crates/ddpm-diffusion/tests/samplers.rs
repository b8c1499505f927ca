//! The samplers against diffusers over whole trajectories, and against what they must come to.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use ddpm_diffusion::{DiffusionError, GaussianDiffusion, MeanForm, Method, SamplerConfig, Sampling, sample};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};
use ddpm_testkit::{Golden, assert_close};

fn diffusion() -> GaussianDiffusion {
    GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap())
}

/// Nearly the best denoiser for data that is N(0.3, 0.2²), and not linear: that of `generate_samplers.py`.
fn denoiser(diffusion: &GaussianDiffusion) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let schedule = diffusion.schedule().clone();
    move |x, t| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let variance = schedule.alpha_bar(i) * 0.04 + schedule.one_minus_alpha_bar(i);
        let linear = (x - schedule.sqrt_alpha_bar(i) * 0.3)? * (schedule.sqrt_one_minus_alpha_bar(i) / variance);
        linear? + ((x * 3.0)?.sin()? * 0.05)?
    }
}

fn config(method: Method, mean: MeanForm, steps: usize, spacing: Spacing) -> SamplerConfig {
    SamplerConfig { method, eta: 0.0, mean, variance: VarianceKind::FixedSmall, steps, spacing }
}

/// x after every step.
fn trajectory(config: &SamplerConfig, x_t: &Tensor) -> Tensor {
    let diffusion = diffusion();
    let mut noise = ImageNoise::new(3, Purpose::SamplingNoise, 0, x_t.dims()[0]);
    let mut moments = Vec::new();
    let mut keep = |progress: ddpm_diffusion::Progress<'_>| {
        moments.push(progress.x.clone());
        ControlFlow::Continue(())
    };
    sample(&denoiser(&diffusion), &diffusion, config, x_t, &mut noise, &mut keep).unwrap();
    Tensor::stack(&moments, 0).unwrap()
}

#[test]
fn trajectories_are_those_of_diffusers() {
    let golden = Golden::load("samplers");
    let mut compared = 0;
    for (name, expected) in &golden.tensors {
        let parts: Vec<&str> = name.split('.').collect();
        let [method, spacing, steps, form] = parts[..] else { continue };
        let method = if method == "ddim" { Method::Ddim } else { Method::DpmSolver };
        let spacing = if spacing == "leading" { Spacing::Leading } else { Spacing::Trailing };
        let mean = if form == "clipped" { MeanForm::ClippedX0 } else { MeanForm::Epsilon };
        let config = config(method, mean, steps.parse().unwrap(), spacing);
        assert_close(name, &trajectory(&config, golden.get("x_T")), expected, 1e-4);
        compared += 1;
    }
    assert_eq!(compared, 10);
}

/// With all of the noise, DDIM is ancestral sampling with variance β̃ (Song et al. 2021, section 4.1).
#[test]
fn ddim_with_all_of_the_noise_is_ancestral() {
    let x_t = Golden::load("samplers").get("x_T").to_dtype(DType::F64).unwrap();
    for mean in [MeanForm::Epsilon, MeanForm::ClippedX0] {
        let ancestral = config(Method::Ddpm, mean, 40, Spacing::Linspace);
        let ddim = SamplerConfig { eta: 1.0, method: Method::Ddim, ..ancestral };
        assert_close("eta = 1", &trajectory(&ddim, &x_t), &trajectory(&ancestral, &x_t), 1e-9);
    }
}

/// For data that is one point every method finds it, in however few steps.
#[test]
fn a_single_point_is_found() {
    let diffusion = diffusion();
    let schedule = diffusion.schedule().clone();
    let certain = |x: &Tensor, t: &Tensor| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        (x - schedule.sqrt_alpha_bar(i) * 0.25)? * schedule.sqrt_one_minus_alpha_bar(i).recip()
    };
    for method in [Method::Ddpm, Method::Ddim, Method::DpmSolver] {
        for steps in [1, 2, 9] {
            let config = config(method, MeanForm::Epsilon, steps, Spacing::Trailing);
            let mut noise = ImageNoise::new(0, Purpose::SamplingNoise, 0, 2);
            let x_t = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
            let mut go = |_: ddpm_diffusion::Progress<'_>| ControlFlow::Continue(());
            let Sampling::Finished(x_0) = sample(&certain, &diffusion, &config, &x_t, &mut noise, &mut go).unwrap()
            else {
                panic!("nobody stopped it")
            };
            assert_close(&format!("{method:?}, {steps}"), &x_0, &(x_0.zeros_like().unwrap() + 0.25).unwrap(), 1e-9);
        }
    }
}

#[test]
fn a_share_of_noise_is_a_share() {
    let x_t = Tensor::zeros((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    for eta in [-0.1, 1.1, f64::NAN] {
        let config = SamplerConfig { eta, ..config(Method::Ddim, MeanForm::Epsilon, 5, Spacing::Leading) };
        let mut noise = ImageNoise::new(0, Purpose::SamplingNoise, 0, 1);
        let mut go = |_: ddpm_diffusion::Progress<'_>| ControlFlow::Continue(());
        let error = sample(&denoiser(&diffusion()), &diffusion(), &config, &x_t, &mut noise, &mut go).unwrap_err();
        assert!(matches!(error, DiffusionError::Eta { .. }), "{error}");
    }
}
