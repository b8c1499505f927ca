//! Tests with data N(m, s²) in every element, for which the optimal denoiser, the distribution of the samples and the
//! variational bound have closed forms.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::f64::consts::{LN_2, PI};
use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_diffusion::{
    Clipping, DiffusionError, GaussianDiffusion, Method, ReverseVariance, SamplerConfig, Sampling, SamplingProgress,
    VariationalBoundConfig, sample,
};
use ddpm_rng::{ImageNoise, Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Prediction, Schedule, Spacing, VarianceKind};

const M: f64 = 0.3;
const S: f64 = 0.2;

fn diffusion(timesteps: usize) -> GaussianDiffusion {
    // The rescaled schedule adds as much noise in a few steps as the one of Ho et al. in a thousand.
    let rule = BetaSchedule::Linear { start: 1e-4, end: 0.02 }.rescaled_to(timesteps).unwrap();
    GaussianDiffusion::new(Schedule::new(&rule, timesteps).unwrap())
}

/// E[ε | x_t] = √(1 − ᾱ_t) (x_t − √ᾱ_t m) / (ᾱ_t s² + 1 − ᾱ_t).
fn optimal(diffusion: &GaussianDiffusion) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let schedule = diffusion.schedule().clone();
    move |x_t, t| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let variance = schedule.alpha_bar(i) * S * S + schedule.one_minus_alpha_bar(i);
        let centered = (x_t - schedule.sqrt_alpha_bar(i) * M)?;
        centered * (schedule.sqrt_one_minus_alpha_bar(i) / variance)
    }
}

/// The exact mean and variance of the samples of a chain of linear steps x ← a x + b + σ z, in f64.
fn exact(diffusion: &GaussianDiffusion, variance: VarianceKind) -> (f64, f64) {
    let schedule = diffusion.schedule();
    let (mut mean, mut var) = (0.0, 1.0);
    for i in (0..schedule.len()).rev() {
        let total = schedule.alpha_bar(i) * S * S + schedule.one_minus_alpha_bar(i);
        // μ_θ = (x − β / √(1 − ᾱ) ε̂) / √α with the ε̂ above.
        let shrinkage = schedule.beta(i) / total;
        let a = (1.0 - shrinkage) / schedule.alpha(i).sqrt();
        let b = shrinkage * schedule.sqrt_alpha_bar(i) * M / schedule.alpha(i).sqrt();
        let sigma_squared = if i == 0 { 0.0 } else { schedule.variance(variance, i) };
        (mean, var) = (a * mean + b, a * a * var + sigma_squared);
    }
    (mean, var)
}

fn run(diffusion: &GaussianDiffusion, config: &SamplerConfig, images: usize, side: usize) -> Tensor {
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, images);
    let latents = noise.draw(&[1, side, side], &Device::Cpu).unwrap();
    let denoiser = optimal(diffusion);
    let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
    match sample(&denoiser, diffusion, config, &latents, &mut noise, &mut go).unwrap() {
        Sampling::Finished(x_0) => x_0,
        Sampling::Stopped(_) => panic!("the callback does not stop the run"),
    }
}

fn config(clip: Clipping, variance: VarianceKind, steps: usize) -> SamplerConfig {
    SamplerConfig::new(Method::Ddpm, clip, variance, steps, Spacing::Trailing)
}

fn moments(x: &Tensor) -> (f64, f64) {
    let values = x.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n)
}

#[test]
fn samples_have_the_exact_mean_and_variance_of_the_chain() {
    let diffusion = diffusion(100);
    for variance in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
        let (mean, var) = exact(&diffusion, variance);
        let x_0 = run(&diffusion, &config(Clipping::None, variance, 100), 64, 32);
        let (found_mean, found_var) = moments(&x_0);
        // 65,536 draws: the mean has a standard error of 0.2 / 256 = 8e-4, the variance of 0.04 · √(2 / 65,536) =
        // 2.2e-4. The bounds are five of each.
        assert!((found_mean - mean).abs() < 4e-3, "{variance:?}: mean {found_mean}, exact {mean}");
        assert!((found_var - var).abs() < 1.1e-3, "{variance:?}: variance {found_var}, exact {var}");
        // The distribution of the chain approximates that of the data.
        assert!((mean - M).abs() < 0.01 && (var - S * S).abs() < 0.02, "{variance:?}: {mean}, {var}");
    }
}

/// The bound 1 is m + 3.5 s. Predicted x_0 is an average over possible x_0, so clipping almost never changes it.
#[test]
fn clipping_changes_nothing_where_predicted_x_0_is_in_range() {
    let diffusion = diffusion(50);
    let of = |clip| run(&diffusion, &config(clip, VarianceKind::FixedSmall, 50), 4, 8);
    let largest = (of(Clipping::None) - of(Clipping::Fixed)).unwrap().abs().unwrap().max_all().unwrap();
    // Rounding of the result to f32, and an amplification by 1 / √ᾱ at the first step.
    assert!(largest.to_scalar::<f32>().unwrap() < 1e-4, "{largest}");
}

#[test]
fn clipping_keeps_samples_in_range() {
    let diffusion = diffusion(50);
    let out_of_range = |x_t: &Tensor, _: &Tensor| x_t * -5.0;
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 2);
    let latents = noise.draw(&[1, 4, 4], &Device::Cpu).unwrap();
    let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
    let config = config(Clipping::Fixed, VarianceKind::FixedLarge, 50);
    let Sampling::Finished(x_0) = sample(&out_of_range, &diffusion, &config, &latents, &mut noise, &mut go).unwrap()
    else {
        panic!("the callback does not stop the run")
    };
    assert!(x_0.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap() <= 1.0);
}

#[test]
fn samples_of_a_respaced_chain_have_its_exact_mean_and_variance() {
    let diffusion = diffusion(1000);
    let respaced = GaussianDiffusion::new(diffusion.schedule().respaced(20, Spacing::Trailing).unwrap());
    let (mean, var) = exact(&respaced, VarianceKind::FixedSmall);
    let x_0 = run(&diffusion, &config(Clipping::None, VarianceKind::FixedSmall, 20), 64, 32);
    let (found_mean, found_var) = moments(&x_0);
    // Five standard errors, as above.
    assert!((found_mean - mean).abs() < 4e-3, "mean {found_mean}, exact {mean}");
    assert!((found_var - var).abs() < 1.1e-3, "variance {found_var}, exact {var}");
}

/// At the noisy end of a cosine schedule, one of ten steps reduces the noise level by a factor of three thousand.
#[test]
fn heun_samples_the_data_distribution_on_a_cosine_schedule() {
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
    let zero = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let mut calls = Vec::new();
    let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
    let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
    let mut stop_at_three = |progress: SamplingProgress<'_>| {
        calls.push((progress.steps_done, progress.timesteps_left));
        if progress.steps_done == 3 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let config = config(Clipping::Fixed, VarianceKind::FixedLarge, 10);
    let outcome = sample(&zero, &diffusion, &config, &latents, &mut noise, &mut stop_at_three).unwrap();
    assert!(matches!(outcome, Sampling::Stopped(_)));
    assert_eq!(calls, [(1, 900), (2, 800), (3, 700)]);
}

/// With the optimal denoiser every term has a closed form: the mean squared error of ε̂ is ᾱ s² / (ᾱ s² + 1 − ᾱ).
#[test]
fn terms_of_the_variational_bound_meet_their_closed_forms() {
    let diffusion = diffusion(25);
    let schedule = diffusion.schedule();
    let shape = (64, 1, 16, 16);
    let x_0 = Stream::new(1, Purpose::Evaluation, 0).normal(shape, &Device::Cpu).unwrap().affine(S, M).unwrap();
    for variance in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
        let config = VariationalBoundConfig { variance: variance.into(), clip_denoised: false };
        let mut noise = ImageNoise::new(2, Purpose::Evaluation, 1, 64);
        let bound = diffusion.variational_bound(&optimal(&diffusion), &x_0, config, &mut noise).unwrap();
        for i in 1..schedule.len() {
            let left = schedule.alpha_bar(i) * S * S;
            let error = left / (left + schedule.one_minus_alpha_bar(i));
            // The KL divergence of two normal distributions has a part of the means, β² / (2 σ² α (1 − ᾱ)) (ε − ε̂)²
            // (Ho et al. 2020, eq. 12), and a part of the variances, which is the same for every image.
            let sigma_squared = schedule.variance(variance, i);
            let weight =
                schedule.beta(i).powi(2) / (2.0 * sigma_squared * schedule.alpha(i) * schedule.one_minus_alpha_bar(i));
            let distance = weight * error / LN_2;
            let ratio = schedule.posterior_variance(i) / sigma_squared;
            let exact = distance + 0.5 * (ratio - 1.0 - ratio.ln()) / LN_2;
            // The mean of 16,384 squared normals has a relative standard error of √(2 / 16,384) = 1.1 %. The bound is
            // six of them.
            let found = bound.terms[i];
            assert!((found - exact).abs() < 0.066 * distance, "{variance:?}, term {i}: {found} exact {exact}");
        }
        // L_0 is approximately the density times the width of a bin, because σ = 0.06 is many bins wide.
        let sigma_squared = schedule.posterior_variance(1);
        let total = schedule.alpha_bar(0) * S * S + schedule.one_minus_alpha_bar(0);
        let distance = 0.5 * schedule.one_minus_alpha_bar(0) * S * S / (total * sigma_squared);
        let exact = 0.5 * (2.0 * PI * sigma_squared).ln() - (2.0f64 / 255.0).ln() + distance;
        // Six standard errors as above, (bin / σ)² / 24 = 7e-4 for the width, and one value in 4,000 lies in the last
        // bin.
        let found = bound.terms[0] * LN_2;
        assert!((found - exact).abs() < 0.066 * distance + 3e-3, "{variance:?}, L_0: {found} exact {exact}");
        let sum: f64 = bound.terms.iter().sum();
        assert!((bound.total() - bound.prior - sum).abs() < 1e-12);
        assert_eq!(bound.config, config);
    }
}

/// With a network that predicts the constant x_0 = 5, the posterior means differ by c (5 − x_0), where c is the
/// coefficient of x_0 in the posterior mean; with clipping, by c (1 − x_0). x_t cancels, so the closed forms hold
/// without averaging.
#[test]
fn clip_denoised_clips_predicted_x_0_in_every_term() {
    let diffusion = diffusion(25).with_prediction(Prediction::X0);
    let schedule = diffusion.schedule();
    let x_0 = Tensor::full(1.0f32 / 127.5, (2, 1, 4, 4), &Device::Cpu).unwrap();
    let constant = |x_t: &Tensor, _: &Tensor| x_t.zeros_like()? + 5.0;
    for variance in [VarianceKind::FixedLarge, VarianceKind::FixedSmall] {
        for (clip_denoised, predicted_x_0) in [(false, 5.0), (true, 1.0)] {
            let config = VariationalBoundConfig { variance: variance.into(), clip_denoised };
            let mut noise = ImageNoise::new(2, Purpose::Evaluation, 0, 2);
            let bound = diffusion.variational_bound(&constant, &x_0, config, &mut noise).unwrap();
            assert_eq!(bound.config, config);
            for i in 1..schedule.len() {
                let (sigma_squared, beta_tilde) = (schedule.variance(variance, i), schedule.posterior_variance(i));
                let distance = schedule.posterior_mean_coef_x0(i) * (predicted_x_0 - 1.0 / 127.5);
                let nats = 0.5 * ((sigma_squared / beta_tilde).ln() - 1.0)
                    + 0.5 * (beta_tilde + distance.powi(2)) / sigma_squared;
                // 1 / 127.5 has a rounding error of 4e-10 in f32.
                let (found, exact) = (bound.terms[i], nats / LN_2);
                assert!((found - exact).abs() < 1e-6 * exact.max(1.0), "{config:?}, term {i}: {found} exact {exact}");
            }
        }
    }
}

/// A network that returns the fixed variance has the bound of the fixed variance, and images have their own bounds.
#[test]
fn the_bound_of_a_learned_variance_contains_those_of_fixed_ones() {
    let diffusion = diffusion(25);
    let x_0 = Stream::new(1, Purpose::Evaluation, 0).normal((3, 1, 8, 8), &Device::Cpu).unwrap();
    let x_0 = x_0.affine(S, M).unwrap();
    let bound = |variance: ReverseVariance, output: Option<f64>, images: std::ops::Range<usize>| {
        let optimal = optimal(&diffusion);
        let network = |x_t: &Tensor, t: &Tensor| -> Result<Tensor> {
            match output {
                Some(value) => Tensor::cat(&[&optimal(x_t, t)?, &x_t.zeros_like()?.affine(0.0, value)?], 1),
                None => optimal(x_t, t),
            }
        };
        let config = VariationalBoundConfig { variance, clip_denoised: true };
        let mut noise = ImageNoise::new(2, Purpose::Evaluation, images.start as u64, images.len());
        let x_0 = x_0.narrow(0, images.start, images.len()).unwrap();
        diffusion.variational_bound(&network, &x_0, config, &mut noise).unwrap()
    };
    for (fixed, value) in [(ReverseVariance::FixedSmall, -1.0), (ReverseVariance::FixedLarge, 1.0)] {
        let (fixed, learned) = (bound(fixed, None, 0..3), bound(ReverseVariance::LearnedRange, Some(value), 0..3));
        assert!((fixed.total() - learned.total()).abs() < 1e-9 * fixed.total(), "{fixed:?} {learned:?}");
    }
    // σ² = 1/2 everywhere: the divergence of two normal distributions in another form.
    let learned = bound(ReverseVariance::Learned, Some(0.5_f64.ln()), 0..3);
    let small = bound(ReverseVariance::FixedSmall, None, 0..3);
    for i in 1..25 {
        let own = diffusion.schedule().posterior_variance(i);
        let distance = 2.0 * LN_2 * small.terms[i] * own;
        let expected = 0.5 * ((0.5 / own).ln() + (own + distance) / 0.5 - 1.0) / LN_2;
        assert!((learned.terms[i] / expected - 1.0).abs() < 1e-6, "term {i}: {} {expected}", learned.terms[i]);
    }
    // The images of a batch have the bounds that they have alone.
    let mean = learned.images.iter().sum::<f64>() / 3.0;
    assert!((mean - learned.total()).abs() < 1e-9 * mean);
    let alone = bound(ReverseVariance::Learned, Some(0.5_f64.ln()), 1..2);
    assert!((alone.total() - learned.images[1]).abs() < 1e-6 * mean);
}

/// Clipping to [−1, 1] moves predicted x_0 towards every x_0 in [−0.9, 0.9], so it cannot increase a term of the bound.
/// The optimal denoiser rarely predicts an x_0 outside of [−1, 1], so the difference is small.
#[test]
fn clip_denoised_hardly_changes_the_bound_of_the_optimal_denoiser() {
    let diffusion = diffusion(25);
    let x_0 = Stream::new(1, Purpose::Evaluation, 0).normal((8, 1, 16, 16), &Device::Cpu).unwrap();
    let x_0 = x_0.affine(S, M).unwrap().clamp(-0.9, 0.9).unwrap();
    let total = |clip_denoised| {
        let config = VariationalBoundConfig { variance: ReverseVariance::FixedSmall, clip_denoised };
        let mut noise = ImageNoise::new(2, Purpose::Evaluation, 1, 8);
        diffusion.variational_bound(&optimal(&diffusion), &x_0, config, &mut noise).unwrap().total()
    };
    let (unclipped, clipped) = (total(false), total(true));
    let difference = unclipped - clipped;
    assert!((0.0..1e-3 * unclipped).contains(&difference), "without clipping {unclipped}, with clipping {clipped}");
}

#[test]
fn the_prior_term_has_its_published_value() {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let x_0 = Tensor::full(0.5f64, (1, 1, 2, 2), &Device::Cpu).unwrap();
    // E[x²] = 0.25: 7.279e-6 bits per dimension.
    let prior = diffusion.prior_term(&x_0).unwrap();
    assert!((prior - 7.279e-6).abs() < 5e-10, "{prior:e}");
}

/// With zero terminal SNR, x_T contains no signal, so x_0 cannot be computed from predicted ε.
#[test]
fn sampling_from_a_timestep_without_signal_is_an_error() {
    let schedule = diffusion(1000).schedule().with_zero_terminal_snr().unwrap();
    let diffusion = GaussianDiffusion::new(schedule);
    let zero = |x_t: &Tensor, _: &Tensor| x_t.zeros_like();
    let run = |clip, spacing| {
        let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
        let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
        let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
        let config = SamplerConfig { spacing, ..config(clip, VarianceKind::FixedSmall, 10) };
        sample(&zero, &diffusion, &config, &latents, &mut noise, &mut go)
    };
    for clip in [Clipping::None, Clipping::Fixed] {
        for spacing in [Spacing::Trailing, Spacing::Linspace] {
            let error = run(clip, spacing).unwrap_err();
            assert!(matches!(error, DiffusionError::NoSignal { timestep: 999, .. }), "{error}");
            assert!(error.to_string().contains("timestep 999"), "{error}");
        }
        // Leading spacing takes 0, 100, … 900, which omits the last timestep.
        assert!(matches!(run(clip, Spacing::Leading), Ok(Sampling::Finished(_))));
    }
}

#[test]
fn the_result_of_sampling_has_no_graph() {
    let diffusion = diffusion(50);
    let weight = Var::new(0.1f32, &Device::Cpu).unwrap();
    let denoiser = |x_t: &Tensor, _: &Tensor| x_t.broadcast_mul(weight.as_tensor());
    let x_0 = {
        let mut noise = ImageNoise::new(5, Purpose::SamplingNoise, 0, 1);
        let latents = noise.draw(&[1, 2, 2], &Device::Cpu).unwrap();
        let mut go = |_: SamplingProgress<'_>| ControlFlow::Continue(());
        let config = config(Clipping::None, VarianceKind::FixedLarge, 50);
        let Sampling::Finished(x_0) = sample(&denoiser, &diffusion, &config, &latents, &mut noise, &mut go).unwrap()
        else {
            panic!("the callback does not stop the run")
        };
        x_0
    };
    assert!(!x_0.track_op());
}
