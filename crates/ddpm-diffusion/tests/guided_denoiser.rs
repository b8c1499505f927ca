//! Guidance: the combinations of predictions, the interval, and the number of evaluations of the network.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::RefCell;
use std::ops::ControlFlow;

use candle_core::{DType, Device, Result, Tensor};
use ddpm_diffusion::{
    Clipping, Denoiser, GaussianDiffusion, Guidance, GuidedDenoiser, Method, SamplerConfig, Sampling, sample,
};
use ddpm_rng::{ImageNoise, Purpose};
use ddpm_schedule::{BetaSchedule, Schedule, Spacing, VarianceKind};

/// The label that stands for no class.
const NO_CLASS: u32 = 2;

/// Predicts ε of data that are one point for each class, and 0 without a class.
struct Points {
    diffusion: GaussianDiffusion,
    /// The number of images of each evaluation.
    batches: RefCell<Vec<usize>>,
}

impl Points {
    fn new() -> Self {
        let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-4, end: 0.02 }, 1000).unwrap();
        Self { diffusion: GaussianDiffusion::new(schedule), batches: RefCell::default() }
    }
}

fn point(label: u32) -> f64 {
    [0.6, -0.4, 0.0][label as usize]
}

impl Denoiser for Points {
    fn predict(&self, _: &Tensor, _: &Tensor) -> Result<Tensor> {
        candle_core::bail!("called without classes")
    }

    fn predict_for_classes(&self, x_t: &Tensor, t: &Tensor, labels: &Tensor) -> Result<Tensor> {
        self.batches.borrow_mut().push(x_t.dim(0)?);
        let x_0: Vec<f64> = labels.to_vec1::<u32>()?.into_iter().map(point).collect();
        let x_0 = Tensor::new(x_0, &Device::Cpu)?.reshape(((), 1, 1, 1))?.to_dtype(x_t.dtype())?;
        let t: Vec<usize> = t.to_vec1::<f32>()?.into_iter().map(|t| t as usize).collect();
        Ok(self.diffusion.predict_eps(x_t, &t, &x_0.broadcast_as(x_t.shape())?.contiguous()?)?)
    }
}

fn noisy(images: usize) -> Tensor {
    ImageNoise::new(3, Purpose::Evaluation, 0, images).draw(&[1, 4, 4], &Device::Cpu).unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    (a - b).unwrap().abs().unwrap().max_all().unwrap().to_scalar().unwrap()
}

fn timesteps(t: f32, images: usize) -> Tensor {
    Tensor::full(t, images, &Device::Cpu).unwrap()
}

#[test]
fn predictions_are_combined_in_one_evaluation() {
    let points = Points::new();
    let (x_t, t) = (noisy(2), timesteps(400.0, 2));
    let of = |label: u32| points.predict_for_classes(&x_t, &t, &Tensor::new(&[label; 2], &Device::Cpu)?);
    let labels = Tensor::new(&[1u32, 0], &Device::Cpu).unwrap();
    let conditional = points.predict_for_classes(&x_t, &t, &labels).unwrap();
    let unconditional = of(NO_CLASS).unwrap();
    for scale in [0.0, 1.0, 2.5] {
        points.batches.borrow_mut().clear();
        let guidance = Guidance { scale, ..Guidance::default() };
        let guided = GuidedDenoiser::new(&points, &points.diffusion, guidance)
            .unwrap()
            .with_classes(&[1, 0])
            .without_class(NO_CLASS);
        let expected = ((&conditional * scale).unwrap() + (&unconditional * (1.0 - scale)).unwrap()).unwrap();
        assert!(largest_difference(&guided.predict(&x_t, &t).unwrap(), &expected) < 1e-5, "{scale}");
        assert_eq!(*points.batches.borrow(), [if scale == 1.0 { 2 } else { 4 }]);
    }
}

#[test]
fn outside_of_the_interval_the_network_is_evaluated_with_classes_only() {
    let points = Points::new();
    let sigma = |i| {
        let schedule = points.diffusion.schedule();
        schedule.sqrt_one_minus_alpha_bar(i) / schedule.sqrt_alpha_bar(i)
    };
    let guidance = Guidance { scale: 2.0, interval: Some([sigma(100), sigma(500)]), rescale: 0.0 };
    let guided =
        GuidedDenoiser::new(&points, &points.diffusion, guidance).unwrap().with_classes(&[0]).without_class(NO_CLASS);
    for (t, images) in [(99.0, 1), (100.0, 2), (500.0, 2), (501.0, 1)] {
        points.batches.borrow_mut().clear();
        guided.predict(&noisy(1), &timesteps(t, 1)).unwrap();
        assert_eq!(*points.batches.borrow(), [images], "{t}");
    }
}

#[test]
fn a_rescaled_prediction_has_the_deviation_of_the_conditional_one() {
    let points = Points::new();
    let (x_t, t) = (noisy(3), timesteps(700.0, 3));
    let predict = |rescale| {
        let guidance = Guidance { scale: 4.0, interval: None, rescale };
        let guided = GuidedDenoiser::new(&points, &points.diffusion, guidance)
            .unwrap()
            .with_classes(&[0, 1, 0])
            .without_class(NO_CLASS);
        guided.predict(&x_t, &t).unwrap().flatten_from(1).unwrap()
    };
    let labels = Tensor::new(&[0u32, 1, 0], &Device::Cpu).unwrap();
    let conditional = points.predict_for_classes(&x_t, &t, &labels).unwrap().flatten_from(1).unwrap();
    let deviation = |images: &Tensor| images.var_keepdim(1).unwrap().sqrt().unwrap();
    assert!(largest_difference(&deviation(&predict(1.0)), &deviation(&conditional)) < 1e-5);
    let half = ((predict(0.0) + predict(1.0)).unwrap() * 0.5).unwrap();
    assert!(largest_difference(&predict(0.5), &half) < 1e-5);
}

#[test]
fn another_network_can_guide() {
    let (points, guide) = (Points::new(), |x_t: &Tensor, _: &Tensor| x_t.zeros_like());
    let (x_t, t) = (noisy(1), timesteps(10.0, 1));
    let guidance = Guidance { scale: 3.0, ..Guidance::default() };
    let guided =
        GuidedDenoiser::new(&points, &points.diffusion, guidance).unwrap().with_classes(&[1]).with_guide(&guide, false);
    let labels = Tensor::new(&[1u32], &Device::Cpu).unwrap();
    let expected = (points.predict_for_classes(&x_t, &t, &labels).unwrap() * 3.0).unwrap();
    assert!(largest_difference(&guided.predict(&x_t, &t).unwrap(), &expected) < 1e-5);
}

/// With every method, x_0 is the point of the class, moved away from 0, the point without a class, by the scale.
#[test]
fn every_method_samples_guided_images() {
    let points = Points::new();
    for method in Method::ALL {
        for scale in [1.0, 1.5] {
            let variance = VarianceKind::FixedSmall;
            let config = SamplerConfig {
                guidance_scale: scale,
                ..SamplerConfig::new(*method, Clipping::None, variance, 20, Spacing::Leading)
            };
            let mut noise = ImageNoise::new(1, Purpose::SamplingNoise, 0, 2);
            let latents = noise.draw(&[1, 4, 4], &Device::Cpu).unwrap();
            let guided =
                GuidedDenoiser::new(&points, &points.diffusion, config.guidance()).unwrap().with_classes(&[0, 1]);
            let guided = guided.without_class(NO_CLASS);
            let on_step = &mut |_: ddpm_diffusion::SamplingProgress<'_>| ControlFlow::Continue(());
            let sampled = sample(&guided, &points.diffusion, &config, &latents, &mut noise, on_step).unwrap();
            let Sampling::Finished(x_0) = sampled else { panic!("nothing stops the sampling") };
            let expected = Tensor::new(&[point(0) * scale, point(1) * scale], &Device::Cpu).unwrap();
            let expected = expected.to_dtype(DType::F32).unwrap().reshape(((), 1, 1, 1)).unwrap();
            let expected = expected.broadcast_as(x_0.shape()).unwrap();
            assert!(largest_difference(&x_0, &expected) < 1e-3, "{method}, {scale}");
        }
    }
}

#[test]
fn invalid_options_and_missing_references_are_refused() {
    let points = Points::new();
    let message = |guidance| {
        let guided = GuidedDenoiser::new(&points, &points.diffusion, guidance).map(|guided| guided.with_classes(&[0]));
        let predicted = guided.map_err(candle_core::Error::from).and_then(|g| g.predict(&noisy(1), &timesteps(1.0, 1)));
        predicted.map(drop).expect_err("an invalid option").to_string()
    };
    let none = Guidance::default();
    assert!(message(Guidance { scale: -1.0, ..none }).starts_with("guidance_scale: expected"));
    assert!(message(Guidance { scale: f64::NAN, ..none }).starts_with("guidance_scale: expected"));
    assert!(message(Guidance { interval: Some([2.0, 1.0]), ..none }).starts_with("guidance_interval: expected"));
    assert!(message(Guidance { rescale: 1.5, ..none }).starts_with("guidance_rescale: expected"));
    assert!(message(Guidance { scale: 2.0, ..none }).starts_with("guidance needs classes and a label"));
}
