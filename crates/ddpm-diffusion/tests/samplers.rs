//! The samplers against whole trajectories of diffusers, and against exact solutions.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use ddpm_diffusion::{
    Clipping, GaussianDiffusion, Method, ReverseVariance, SamplerConfig, Sampling, SamplingProgress, sample,
};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Prediction, Schedule, ScheduleConfig, Spacing, VarianceKind};
use ddpm_testkit::{Golden, assert_close, relative_error};
use serde::Deserialize;

fn diffusion() -> GaussianDiffusion {
    GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap())
}

/// The denoiser of `generate_samplers.py`: a nonlinear function close to the optimal denoiser for data N(0.3, 0.6²). It
/// predicts ε, x_0 or v as `diffusion` expects, and a learned variance if `variance` is one.
fn denoiser(
    diffusion: &GaussianDiffusion,
    variance: ReverseVariance,
) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let (schedule, prediction) = (diffusion.schedule().clone(), diffusion.prediction());
    move |x, t| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let (signal, noise) = (schedule.sqrt_alpha_bar(i), schedule.sqrt_one_minus_alpha_bar(i));
        let linear = (x - signal * 0.3)? * (noise / (schedule.alpha_bar(i) * 0.36 + schedule.one_minus_alpha_bar(i)));
        let eps = (linear? + ((x * 3.0)?.sin()? * 0.05)?)?;
        // Without signal, predicted x_0 is the mean of the data.
        let x_0 = if signal > 1e-3 {
            ((x - (&eps * noise)?)? / signal)?
        } else {
            Tensor::full(0.3, x.dims(), x.device())?.to_dtype(x.dtype())?
        };
        let output = match prediction {
            Prediction::Epsilon => eps,
            Prediction::X0 => x_0,
            Prediction::V => ((eps * signal)? - (x_0 * noise)?)?,
        };
        match variance {
            ReverseVariance::Learned => Tensor::cat(&[output, ((x * 5.0)?.sin()? - 3.0)?], 1),
            ReverseVariance::LearnedRange => Tensor::cat(&[output, (x * 5.0)?.sin()?], 1),
            _ => Ok(output),
        }
    }
}

fn config(method: Method, clip: Clipping, steps: usize, spacing: Spacing) -> SamplerConfig {
    SamplerConfig::new(method, clip, VarianceKind::FixedSmall, steps, spacing)
}

/// x after every step.
fn trajectory(diffusion: &GaussianDiffusion, config: &SamplerConfig, x_t: &Tensor) -> Tensor {
    let mut noise = ImageNoise::new(3, Purpose::SamplingNoise, 0, x_t.dims()[0]);
    let mut trajectory = Vec::new();
    let mut keep = |progress: SamplingProgress<'_>| {
        trajectory.push(progress.x.clone());
        ControlFlow::Continue(())
    };
    sample(&denoiser(diffusion, config.variance), diffusion, config, x_t, &mut noise, &mut keep).unwrap();
    Tensor::stack(&trajectory, 0).unwrap()
}

/// One trajectory of the golden file.
#[derive(Deserialize)]
struct Case {
    sampler: SamplerConfig,
    prediction: Prediction,
    schedule: ScheduleConfig,
}

#[test]
fn trajectories_equal_those_of_diffusers() {
    let golden = Golden::load("samplers");
    let cases: BTreeMap<String, Case> = serde_json::from_str(&golden.config).unwrap();
    assert!(cases.len() >= 50, "{}", cases.len());
    let mut failed = Vec::new();
    for (name, case) in cases {
        let diffusion = GaussianDiffusion::new(case.schedule.build().unwrap()).with_prediction(case.prediction);
        let found = trajectory(&diffusion, &case.sampler, golden.get("x_T"));
        let error = relative_error(&found, golden.get(&name));
        if error > 1e-4 {
            failed.push(format!("{name}: {error:.1e}"));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}

/// With η = 1, DDIM is ancestral sampling with the variance β̃ (Song et al. 2021, section 4.1).
#[test]
fn ddim_with_eta_1_is_ancestral_sampling() {
    let x_t = Golden::load("samplers").get("x_T").to_dtype(DType::F64).unwrap();
    for clip in [Clipping::None, Clipping::Fixed] {
        let ancestral = config(Method::Ddpm, clip, 40, Spacing::Linspace);
        let ddim = SamplerConfig { eta: 1.0, method: Method::Ddim, ..ancestral };
        let of = |config| trajectory(&diffusion(), config, &x_t);
        assert_close("eta = 1", &of(&ddim), &of(&ancestral), 1e-9);
    }
}

/// If the data is a single point, every method samples it exactly in any number of steps.
#[test]
fn every_method_samples_a_single_point_exactly() {
    let diffusion = diffusion();
    let schedule = diffusion.schedule().clone();
    let optimal = |x: &Tensor, t: &Tensor| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        (x - schedule.sqrt_alpha_bar(i) * 0.25)? * schedule.sqrt_one_minus_alpha_bar(i).recip()
    };
    for method in Method::ALL.iter().copied() {
        for steps in [1, 2, 9] {
            let config = config(method, Clipping::None, steps, Spacing::Trailing);
            let mut noise = ImageNoise::new(0, Purpose::SamplingNoise, 0, 2);
            let x_t = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
            let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
            let Sampling::Finished(x_0) = sample(&optimal, &diffusion, &config, &x_t, &mut noise, &mut go).unwrap()
            else {
                panic!("the callback does not stop the run")
            };
            assert_close(&format!("{method:?}, {steps}"), &x_0, &(x_0.zeros_like().unwrap() + 0.25).unwrap(), 1e-9);
        }
    }
}

/// The error at a fixed noise level, against a run of about a thousand steps, decreases with the order of the method.
/// The quadratic term of diffusers, with half of its weight, has the order 2.1 here.
#[test]
fn solvers_converge_with_their_order() {
    // 960 steps of equal length in λ, and one more to x_0.
    let lambda = |i: usize| 2.0 - 4.5 * i as f64 / 960.0;
    let alpha_bar = |i: usize| 1.0 / (1.0 + (-2.0 * lambda(i)).exp());
    let mut betas = vec![1.0 - alpha_bar(0)];
    betas.extend((1..=960).map(|i| 1.0 - alpha_bar(i) / alpha_bar(i - 1)));
    let schedule = Schedule::from_betas(&betas).unwrap();
    let x_t = Golden::load("samplers").get("x_T").to_dtype(DType::F64).unwrap();
    // x at λ = 2, one step before x_0. The first steps have a lower order, because there are no previous evaluations;
    // therefore they are as short as those of the reference run.
    let end = |length: usize, method, order| {
        let mut timesteps = vec![960usize];
        let mut step = 1;
        while let Some(from) = timesteps.last().copied().filter(|from| *from > 0) {
            timesteps.push(from.saturating_sub(step));
            step = (2 * step - usize::from(timesteps.len() == 2)).min(length);
        }
        timesteps.reverse();
        let steps = timesteps.len() - 1;
        let diffusion = GaussianDiffusion::new(schedule.selected(&timesteps).unwrap());
        let full = GaussianDiffusion::new(schedule.clone());
        let config = SamplerConfig { order, ..config(method, Clipping::None, steps + 1, Spacing::Trailing) };
        let mut noise = ImageNoise::new(3, Purpose::SamplingNoise, 0, 2);
        let mut trajectory = Vec::new();
        let mut keep = |progress: SamplingProgress<'_>| {
            trajectory.push(progress.x.clone());
            ControlFlow::Continue(())
        };
        let denoiser = denoiser(&full, config.variance);
        sample(&denoiser, &diffusion, &config, &x_t, &mut noise, &mut keep).unwrap();
        trajectory[steps - 1].clone()
    };
    let exact = end(1, Method::DpmSolver, 3);
    for (method, order, lowest) in [
        (Method::Ddim, 2, 0.8),
        (Method::DpmSolver, 1, 0.8),
        (Method::DpmSolver, 2, 1.7),
        (Method::DpmSolver, 3, 2.6),
        (Method::Heun, 2, 1.7),
    ] {
        let error = |length| relative_error(&end(length, method, order), &exact);
        let (coarse, fine) = (error(32), error(8));
        let found = (coarse / fine).log2() / 2.0;
        assert!(found > lowest, "{method:?} of order {order}: {found:.2}, errors {coarse:.1e}, {fine:.1e}");
    }
}

#[test]
fn options_out_of_range_are_named() {
    let x_t = Tensor::zeros((1, 1, 2, 2), DType::F32, &Device::Cpu).unwrap();
    let plain = config(Method::Ddim, Clipping::None, 5, Spacing::Leading);
    for (config, expected) in [
        (SamplerConfig { eta: -0.1, ..plain }, "eta: expected a share in [0, 1], found -0.1"),
        (SamplerConfig { eta: f64::NAN, ..plain }, "eta: expected a share in [0, 1], found NaN"),
        (SamplerConfig { order: 4, ..plain }, "order: expected 1, 2 or 3, found 4"),
        (SamplerConfig { clip_range: 0.0, ..plain }, "clip_range: expected a finite number above 0, found 0"),
        (SamplerConfig { threshold_quantile: 2.0, ..plain }, "threshold_quantile: expected a share in [0, 1], found 2"),
        (SamplerConfig { threshold_max: 0.5, ..plain }, "threshold_max: expected a finite number from 1, found 0.5"),
        (
            SamplerConfig { threshold_max: f64::INFINITY, ..plain },
            "threshold_max: expected a finite number from 1, found inf",
        ),
        (SamplerConfig { steps: 2000, ..plain }, "2000"),
        (
            SamplerConfig { method: Method::Ddpm, variance: ReverseVariance::Learned, ..plain },
            "variance: expected a network with 2 channels of output",
        ),
    ] {
        let mut noise = ImageNoise::new(0, Purpose::SamplingNoise, 0, 1);
        let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
        let zero = |x: &Tensor, _: &Tensor| x.zeros_like();
        let error = sample(&zero, &diffusion(), &config, &x_t, &mut noise, &mut go).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}
