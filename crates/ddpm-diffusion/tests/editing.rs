//! Editing of images: SDEdit, RePaint against diffusers, and the inversion of DDIM.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use ddpm_diffusion::{
    Clipping, DdimInversion, GaussianDiffusion, Method, Repaint, SamplerConfig, Sampling, SamplingProgress,
    ddim_invert, repaint, sample, sample_from,
};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, ScheduleConfig, Spacing, VarianceKind};
use ddpm_testkit::{Golden, assert_close};
use serde::Deserialize;

/// A nonlinear denoiser, nearly the optimal one for data N(0.3, 0.6²): that of the golden files.
fn denoiser(diffusion: &GaussianDiffusion) -> impl Fn(&Tensor, &Tensor) -> Result<Tensor> + use<> {
    let schedule = diffusion.schedule().clone();
    move |x: &Tensor, t: &Tensor| {
        let i = t.to_vec1::<f32>()?[0] as usize;
        let variance = schedule.alpha_bar(i) * 0.36 + schedule.one_minus_alpha_bar(i);
        let centered = (x - schedule.sqrt_alpha_bar(i) * 0.3)?;
        (centered * (schedule.sqrt_one_minus_alpha_bar(i) / variance))? + ((x * 3.0)?.sin()? * 0.05)?
    }
}

fn diffusion() -> GaussianDiffusion {
    GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap())
}

fn config(method: Method, steps: usize) -> SamplerConfig {
    SamplerConfig::new(method, Clipping::None, VarianceKind::FixedSmall, steps, Spacing::Trailing)
}

fn noise(purpose: Purpose) -> ImageNoise {
    ImageNoise::new(5, purpose, 0, 2)
}

fn images() -> Tensor {
    let images = ImageNoise::new(9, Purpose::Synthetic, 0, 2).draw(&[1, 4, 6], &Device::Cpu).unwrap();
    (images * 0.4).unwrap().clamp(-1.0, 1.0).unwrap()
}

fn go(_: SamplingProgress<'_>) -> ControlFlow<()> {
    ControlFlow::Continue(())
}

fn finished(sampling: Sampling) -> Tensor {
    match sampling {
        Sampling::Finished(x) => x,
        Sampling::Stopped(_) => panic!("the callback does not stop the run"),
    }
}

#[derive(Deserialize)]
struct Inpainting {
    seed: u64,
    schedule: ScheduleConfig,
    jump_length: usize,
    resamplings: usize,
    cases: BTreeMap<String, SamplerConfig>,
}

#[test]
fn inpainted_images_equal_those_of_diffusers() {
    let golden = Golden::load("repaint");
    let inpainting: Inpainting = serde_json::from_str(&golden.config).unwrap();
    let Inpainting { seed, schedule, jump_length, resamplings, cases } = inpainting;
    let diffusion = GaussianDiffusion::new(schedule.build().unwrap());
    let config =
        Repaint { x_0: golden.get("x_0").clone(), known: golden.get("known").clone(), jump_length, resamplings };
    for (name, sampler) in cases {
        let mut noise = ImageNoise::new(seed, Purpose::SamplingNoise, 0, 2);
        let mut known_noise = ImageNoise::new(seed, Purpose::InpaintingNoise, 0, 2);
        let x_t = noise.draw(&[1, 4, 6], &Device::Cpu).unwrap().to_dtype(DType::F64).unwrap();
        let config = Repaint { x_0: config.x_0.to_dtype(DType::F64).unwrap(), ..config.clone() };
        let (denoiser, noises) = (denoiser(&diffusion), (&mut noise, &mut known_noise));
        let painted =
            repaint(&denoiser, &diffusion, &sampler, &config, &x_t, noises.0, noises.1, &mut go).map(finished);
        assert_close(&name, &painted.unwrap(), &golden.get(&name).to_dtype(DType::F64).unwrap(), 1e-5);
    }
}

#[test]
fn known_pixels_are_reproduced_exactly_by_every_method() {
    let (diffusion, x_0) = (diffusion(), images());
    let known = Tensor::from_vec((0..48).map(|i| f32::from(u8::from(i % 3 > 0))).collect(), (2, 1, 4, 6), &Device::Cpu);
    let known = known.unwrap();
    for method in Method::ALL {
        let config = Repaint { x_0: x_0.clone(), known: known.clone(), jump_length: 2, resamplings: 2 };
        let (mut sampling, mut inpainting) = (noise(Purpose::SamplingNoise), noise(Purpose::InpaintingNoise));
        let x_t = sampling.draw(&[1, 4, 6], &Device::Cpu).unwrap();
        let sampler = self::config(*method, 12);
        let mut steps = 0;
        let mut count = |progress: SamplingProgress<'_>| {
            steps += 1;
            assert_eq!((progress.steps_done, progress.steps), (steps, Repaint::steps(12, 2, 2)));
            ControlFlow::Continue(())
        };
        let denoiser = denoiser(&diffusion);
        let painted =
            repaint(&denoiser, &diffusion, &sampler, &config, &x_t, &mut sampling, &mut inpainting, &mut count);
        let painted = finished(painted.unwrap());
        assert_eq!(steps, Repaint::steps(12, 2, 2));
        let kept = |images: &Tensor| (images * &known).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(kept(&painted), kept(&x_0), "{method}");
        let largest = painted.abs().unwrap().max_all().unwrap().to_scalar::<f32>().unwrap();
        assert!(largest.is_finite() && largest < 5.0, "{method}: {largest}");
    }
}

#[test]
fn an_edit_takes_the_last_steps_from_the_noisy_image() {
    let (diffusion, x_0) = (diffusion(), images());
    let sampler = config(Method::Ddim, 50);
    assert_eq!([0.0, 0.5, 1.0].map(|strength| sampler.steps_of_strength(strength).unwrap()), [0, 25, 50]);
    for wrong in [-0.1, 1.1, f64::NAN] {
        assert!(sampler.steps_of_strength(wrong).unwrap_err().to_string().starts_with("strength: expected a share"));
    }
    let eps = noise(Purpose::SamplingNoise).draw(&[1, 4, 6], &Device::Cpu).unwrap();
    let edited = |steps_left| {
        let start = sampler.noisy_start(&diffusion, &x_0, steps_left, &eps).unwrap();
        let mut noise = noise(Purpose::SamplingNoise);
        sample_from(&denoiser(&diffusion), &diffusion, &sampler, &start, steps_left, &mut noise, &mut go).map(finished)
    };
    let distance = |steps_left| {
        let difference = (edited(steps_left).unwrap() - &x_0).unwrap();
        difference.sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap()
    };
    // Without steps the image is unchanged, and more steps move it further.
    assert_eq!(distance(0), 0.0);
    assert!(distance(5) < distance(20) && distance(20) < distance(50), "{} {}", distance(5), distance(50));
    // The start has the noise level of the first of the steps: √ᾱ x_0 + √(1 − ᾱ) ε at timestep 499 of 1,000.
    let start = sampler.noisy_start(&diffusion, &x_0, 25, &eps).unwrap();
    assert_close("start", &start, &diffusion.q_sample(&x_0, &[499, 499], &eps).unwrap(), 1e-6);
    assert!(sampler.noisy_start(&diffusion, &x_0, 51, &eps).is_err());
    let mut noise = noise(Purpose::SamplingNoise);
    let refused = sample_from(&denoiser(&diffusion), &diffusion, &sampler, &x_0, 51, &mut noise, &mut go);
    assert!(refused.is_err());
}

#[test]
fn sampling_returns_to_an_inverted_image() {
    let (diffusion, x_0) = (diffusion(), images().to_dtype(DType::F64).unwrap());
    let network = denoiser(&diffusion);
    let error = |steps, inversion| {
        let sampler = config(Method::Heun, steps);
        let x_t = finished(ddim_invert(&network, &diffusion, &sampler, &inversion, &x_0, &mut go).unwrap());
        let mut noise = noise(Purpose::SamplingNoise);
        let again = sample(&network, &diffusion, &sampler.for_inversion(), &x_t, &mut noise, &mut go).unwrap();
        (finished(again) - &x_0).unwrap().abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap()
    };
    let exact = DdimInversion { evaluations: 50, tolerance: 1e-12 };
    assert!(error(50, exact) < 1e-8, "{}", error(50, exact));
    // With a single evaluation the error decreases with the number of steps.
    let single = DdimInversion { evaluations: 1, ..exact };
    let (few, many) = (error(20, single), error(200, single));
    assert!(many < few && few < 0.5 && many > 1e-6, "{few} {many}");
    let none = DdimInversion { evaluations: 0, ..exact };
    let refused = ddim_invert(&network, &diffusion, &config(Method::Ddim, 9), &none, &x_0, &mut go);
    assert!(refused.unwrap_err().to_string().starts_with("evaluations: expected a number from 1"));
}
