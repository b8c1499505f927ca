//! Data that is N(m, s²) in every element, for which everything is known: the best denoiser, what ancestral sampling comes
//! to, and the bound.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::f64::consts::{LN_2, PI};
use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_diffusion::{Clipping, DiffusionError, GaussianDiffusion, Method, SamplerConfig, Sampling, sample};
use ddpm_rng::{ImageNoise, Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};

const M: f64 = 0.3;
const S: f64 = 0.2;

fn diffusion(timesteps: usize) -> GaussianDiffusion {
    // As much noise in few steps as Ho's schedule has in a thousand.
    let rule = BetaSchedule::Linear { start: 1e-4, end: 0.02 }.rescaled_to(timesteps).unwrap();
    GaussianDiffusion::new(Schedule::new(&rule, timesteps).unwrap())
}

/// E[ε | x_t] = √(1 − ᾱ_t) (x_t − √ᾱ_t m) / (ᾱ_t s² + 1 − ᾱ_t).
fn optimal(diffusion: &GaussianDiffusion) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let schedule = diffusion.schedule().clone();
    move |x_t, t| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let variance = schedule.alpha_bar(i) * S * S + schedule.one_minus_alpha_bar(i);
        let centred = (x_t - schedule.sqrt_alpha_bar(i) * M)?;
        centred * (schedule.sqrt_one_minus_alpha_bar(i) / variance)
    }
}

/// The mean and variance that a chain of linear steps comes to, in f64: each step is x ← a x + b + σ z.
fn exact(diffusion: &GaussianDiffusion, variance: VarianceKind) -> (f64, f64) {
    let schedule = diffusion.schedule();
    let (mut mean, mut var) = (0.0, 1.0);
    for i in (0..schedule.len()).rev() {
        let total = schedule.alpha_bar(i) * S * S + schedule.one_minus_alpha_bar(i);
        // μ_θ = (x − β / √(1 − ᾱ) ε̂) / √α with the ε̂ above.
        let pull = schedule.beta(i) / total;
        let a = (1.0 - pull) / schedule.alpha(i).sqrt();
        let b = pull * schedule.sqrt_alpha_bar(i) * M / schedule.alpha(i).sqrt();
        let sigma_squared = if i == 0 { 0.0 } else { schedule.variance(variance, i) };
        (mean, var) = (a * mean + b, a * a * var + sigma_squared);
    }
    (mean, var)
}

fn run(diffusion: &GaussianDiffusion, config: &SamplerConfig, images: usize, side: usize) -> Tensor {
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, images);
    let latents = noise.draw(&[1, side, side], &Device::Cpu).unwrap();
    let denoiser = optimal(diffusion);
    let mut go = |_: ddpm_diffusion::SamplingProgress<'_>| ControlFlow::Continue(());
    match sample(&denoiser, diffusion, config, &latents, &mut noise, &mut go).unwrap() {
        Sampling::Finished(x_0) => x_0,
        Sampling::Stopped(_) => panic!("nobody stopped it"),
    }
}

fn config(mean: Clipping, variance: VarianceKind, steps: usize) -> SamplerConfig {
    SamplerConfig::new(Method::Ddpm, mean, variance, steps, Spacing::Trailing)
}

fn moments(x: &Tensor) -> (f64, f64) {
    let values = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

#[test]
fn samples_have_the_mean_and_variance_that_the_chain_comes_to() {
    let diffusion = diffusion(100);
    for variance in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
        let (mean, var) = exact(&diffusion, variance);
        let x_0 = run(&diffusion, &config(Clipping::None, variance, 100), 64, 32);
        let (found_mean, found_var) = moments(&x_0);
        // 65,536 draws: the mean has a standard error of 0.2 / 256 = 8e-4, the variance of 0.04 · √(2 / 65,536) = 2.2e-4.
        // The bounds are five of each.
        assert!((found_mean - mean).abs() < 4e-3, "{variance:?}: mean {found_mean}, exact {mean}");
        assert!((found_var - var).abs() < 1.1e-3, "{variance:?}: variance {found_var}, exact {var}");
        // And the chain comes near the data, the nearer the more steps it has.
        assert!((mean - M).abs() < 0.01 && (var - S * S).abs() < 0.02, "{variance:?}: {mean}, {var}");
    }
}

/// m ± 3.5 s reaches 1: clipping x̂_0, an average over what x_0 can be, hardly ever changes it.
#[test]
fn both_forms_of_the_mean_agree_where_nothing_is_clipped() {
    let diffusion = diffusion(50);
    let of = |mean| run(&diffusion, &config(mean, VarianceKind::FixedSmall, 50), 4, 8);
    let largest = (of(Clipping::None) - of(Clipping::Fixed)).unwrap().abs().unwrap().max_all().unwrap();
    // f32 rounding over 50 steps, amplified by 1/√ᾱ at the first.
    assert!(largest.to_scalar::<f32>().unwrap() < 1e-4, "{largest}");
}

#[test]
fn clipping_keeps_samples_in_range() {
    let diffusion = diffusion(50);
    let wild = |x_t: &Tensor, _: &Tensor| x_t * -5.0;
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 2);
    let latents = noise.draw(&[1, 4, 4], &Device::Cpu).unwrap();
    let mut go = |_: ddpm_diffusion::SamplingProgress<'_>| ControlFlow::Continue(());
    let config = config(Clipping::Fixed, VarianceKind::FixedLarge, 50);
    let Sampling::Finished(x_0) = sample(&wild, &diffusion, &config, &latents, &mut noise, &mut go).unwrap() else {
        panic!("nobody stopped it")
    };
    assert!(x_0.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() <= 1.0);
}

#[test]
fn a_respaced_chain_comes_to_what_its_own_schedule_says() {
    let diffusion = diffusion(1000);
    let respaced = GaussianDiffusion::new(diffusion.schedule().respaced(20, Spacing::Trailing).unwrap());
    let (mean, var) = exact(&respaced, VarianceKind::FixedSmall);
    let x_0 = run(&diffusion, &config(Clipping::None, VarianceKind::FixedSmall, 20), 64, 32);
    let (found_mean, found_var) = moments(&x_0);
    // As above: five standard errors.
    assert!((found_mean - mean).abs() < 4e-3, "mean {found_mean}, exact {mean}");
    assert!((found_var - var).abs() < 1.1e-3, "variance {found_var}, exact {var}");
}

/// At the beginning of a cosine schedule the noise level falls three thousandfold in one of ten steps.
#[test]
fn heun_comes_to_the_data_on_a_cosine_schedule() {
    let rule = BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 };
    let diffusion = GaussianDiffusion::new(Schedule::new(&rule, 1000).unwrap());
    for (steps, bound) in [(10, 0.05), (50, 0.01)] {
        let config = SamplerConfig { method: Method::Heun, ..config(Clipping::Fixed, VarianceKind::FixedSmall, steps) };
        let (mean, var) = moments(&run(&diffusion, &config, 64, 32));
        assert!((mean - M).abs() < 5e-3 && (var.sqrt() - S).abs() < bound, "{steps} steps: {mean}, {var}");
    }
}

#[test]
fn an_image_does_not_depend_on_its_batch() {
    let diffusion = diffusion(25);
    let config = config(Clipping::Fixed, VarianceKind::FixedLarge, 25);
    let whole = run(&diffusion, &config, 5, 4);
    let part = run(&diffusion, &config, 2, 4);
    let values = |t: Tensor| t.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    assert_eq!(values(whole.narrow(0, 0, 2).unwrap()), values(part));
}

#[test]
fn a_callback_sees_every_step_and_can_stop() {
    let diffusion = diffusion(1000);
    let silent = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let mut seen = Vec::new();
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
    let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
    let mut stop_at_three = |progress: ddpm_diffusion::SamplingProgress<'_>| {
        seen.push((progress.done, progress.time_left));
        if progress.done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let config = config(Clipping::Fixed, VarianceKind::FixedLarge, 10);
    let outcome = sample(&silent, &diffusion, &config, &latents, &mut noise, &mut stop_at_three).unwrap();
    assert!(matches!(outcome, Sampling::Stopped(_)));
    assert_eq!(seen, [(1, 900), (2, 800), (3, 700)]);
}

/// With the best denoiser every term has a closed form: the squared error of ε̂ is ᾱ s² / (ᾱ s² + 1 − ᾱ) on average.
#[test]
fn the_bound_meets_its_true_value() {
    let diffusion = diffusion(25);
    let schedule = diffusion.schedule();
    let shape = (64, 1, 16, 16);
    let x_0 = Stream::new(1, Purpose::Evaluation, 0).normal(shape, &Device::Cpu).unwrap().affine(S, M).unwrap();
    for variance in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
        let mut noise = ImageNoise::new(2, Purpose::Evaluation, 1, 64);
        let bound = diffusion.variational_bound(&optimal(&diffusion), &x_0, variance, &mut noise).unwrap();
        for i in 1..schedule.len() {
            let left = schedule.alpha_bar(i) * S * S;
            let error = left / (left + schedule.one_minus_alpha_bar(i));
            // D_KL of two normals: the distance of the means, β² / (2 σ² α (1 − ᾱ)) (ε − ε̂)² (Ho et al. 2020, eq. 12), and
            // what the variances differ by, which is the same for every image.
            let sigma_squared = schedule.variance(variance, i);
            let weight =
                schedule.beta(i).powi(2) / (2.0 * sigma_squared * schedule.alpha(i) * schedule.one_minus_alpha_bar(i));
            let distance = weight * error / LN_2;
            let ratio = schedule.posterior_variance(i) / sigma_squared;
            let exact = distance + 0.5 * (ratio - 1.0 - ratio.ln()) / LN_2;
            // A mean of 16,384 squares of normals has a relative standard error of √(2 / 16,384) = 1.1 %; six of them.
            let found = bound.terms[i];
            assert!((found - exact).abs() < 0.066 * distance, "{variance:?}, term {i}: {found} exact {exact}");
        }
        // L_0: the density times the width of a bin, for σ = 0.06 is many bins wide.
        let sigma_squared = schedule.posterior_variance(1);
        let total = schedule.alpha_bar(0) * S * S + schedule.one_minus_alpha_bar(0);
        let distance = 0.5 * schedule.one_minus_alpha_bar(0) * S * S / (total * sigma_squared);
        let exact = 0.5 * (2.0 * PI * sigma_squared).ln() - (2.0f64 / 255.0).ln() + distance;
        // Six standard errors as above, (bin / σ)² / 24 = 7e-4 for the width, and a draw in 4,000 falls into the last bin.
        let found = bound.terms[0] * LN_2;
        assert!((found - exact).abs() < 0.066 * distance + 3e-3, "{variance:?}, L_0: {found} exact {exact}");
        let sum: f64 = bound.terms.iter().sum();
        assert!((bound.total() - bound.prior - sum).abs() < 1e-12);
    }
}

#[test]
fn the_prior_term_is_the_published_one() {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let x_0 = Tensor::full(0.5f64, (1, 1, 2, 2), &Device::Cpu).unwrap();
    // E[x²] = 0.25: 7.279e-6 bits a dimension.
    let prior = diffusion.prior_term(&x_0).unwrap();
    assert!((prior - 7.279e-6).abs() < 5e-10, "{prior:e}");
}

/// x_T of a zero-terminal-SNR schedule says nothing of x_0, and no prediction of ε changes that.
#[test]
fn sampling_without_signal_is_refused() {
    let schedule = diffusion(1000).schedule().with_zero_terminal_snr().unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let silent = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let run = |mean, spacing| {
        let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
        let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
        let mut go = |_: ddpm_diffusion::SamplingProgress<'_>| ControlFlow::Continue(());
        let config = SamplerConfig { spacing, ..config(mean, VarianceKind::FixedSmall, 10) };
        sample(&silent, &diffusion, &config, &latents, &mut noise, &mut go)
    };
    for mean in [Clipping::None, Clipping::Fixed] {
        for spacing in [Spacing::Trailing, Spacing::Linspace] {
            let error = run(mean, spacing).unwrap_err();
            assert!(matches!(error, DiffusionError::NoSignal { timestep: 999, .. }), "{error}");
            assert!(error.to_string().contains("time step 999"), "{error}");
        }
        // The last step is not among 0, 100, … 900.
        assert!(matches!(run(mean, Spacing::Leading), Ok(Sampling::Finished(_))));
    }
}

#[test]
fn sampling_keeps_no_graph() {
    let diffusion = diffusion(50);
    let weight = Var::new(0.1f32, &Device::Cpu).unwrap();
    let denoiser = |x_t: &Tensor, _: &Tensor| x_t.broadcast_mul(weight.as_tensor());
    let x_0 = {
        let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
        let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
        let mut go = |_: ddpm_diffusion::SamplingProgress<'_>| ControlFlow::Continue(());
        let config = config(Clipping::None, VarianceKind::FixedLarge, 50);
        let Sampling::Finished(x_0) = sample(&denoiser, &diffusion, &config, &latents, &mut noise, &mut go).unwrap()
        else {
            panic!("nobody stopped it")
        };
        x_0
    };
    assert!(!x_0.track_op());
}
