//! A training whose steps are replays of a captured one has the same bits as one that computes each step. The GPU is
//! emulated on the CPU, or is the one that DDPM_TEST_DEVICE names.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_diffusion::{GaussianDiffusion, LossWeighting, WeightedSquaredError};
use ddpm_ops::{
    ComputeOptions, DropoutSource, FusedConv2d, Norm, Precision, Recorded, StepGraph, Tape, TrainingCache, Value,
};
use ddpm_rng::{Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Prediction, Schedule};
use ddpm_testkit::device;
use ddpm_trainer::{LearningRateSchedule, Optimizer, StepOutcome, TrainConfig, TrainableModel, Trainer};

const STEPS: u64 = 8;
const CHANNELS: usize = 8;

fn config(precision: Precision, cuda_graph: bool) -> TrainConfig {
    TrainConfig {
        steps: Some(STEPS),
        epochs: None,
        batch_size: 3,
        seed: 3,
        learning_rate: 0.02,
        learning_rate_schedule: LearningRateSchedule::Cosine,
        warmup_steps: 3,
        optimizer: Optimizer::AdamW,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.01,
        gradient_clip_norm: 1.0,
        gradient_accumulation_steps: 1,
        gradient_bucket_mb: 25.0,
        precision,
        recompute: false,
        cuda_graph,
        class_dropout: 0.1,
        ema_decay: 0.9.into(),
        ema_warmup: true,
        power_ema_every_steps: 0,
        checkpoint_every_steps: 100,
        keep_last_checkpoints: 1,
        keep_every_steps: 0,
        sample_every_steps: 0,
        validate_every_steps: None,
        stop_when_overfit: false,
        log_every_steps: 1,
        max_skipped_steps: 3,
    }
}

struct Source<'a>(&'a mut Stream);

impl DropoutSource for Source<'_> {
    fn drops(&mut self, rate: f64) -> bool {
        self.0.bernoulli(rate)
    }

    fn seed(&mut self) -> u64 {
        self.0.seed()
    }
}

/// Two convolutions with everything that differs from step to step: timesteps, and dropout before and after a block
/// that is recomputed.
fn network(
    tape: &Tape,
    x: &Value,
    t: &Tensor,
    weights: &BTreeMap<String, Tensor>,
    dropout: &mut Stream,
) -> Result<Value> {
    let weight = |name: &str| &weights[name];
    let time = tape.constant(&(t.reshape(((), 1))? / 100.0)?)?;
    let time = tape.linear(&time, weight("time.weight"), weight("time.bias"))?;
    let norm = Norm { groups: 2, eps: 1e-5, weight: weight("norm.weight"), bias: weight("norm.bias") };
    let first = FusedConv2d {
        image_bias: Some(&time),
        norm: Some(norm),
        ..FusedConv2d::new(x, weight("first.weight"), Some(weight("first.bias")))
    };
    let x = tape.dropout(&tape.conv2d(&first)?, 0.25, &mut Source(dropout))?;
    let (seed, again) = (dropout.seed(), weights["second.weight"].clone());
    let x = tape.recompute(&[&x], move |tape, values| {
        struct Fixed(u64);
        impl DropoutSource for Fixed {
            fn drops(&mut self, _: f64) -> bool {
                false
            }
            fn seed(&mut self) -> u64 {
                self.0
            }
        }
        let x = tape.conv2d(&FusedConv2d::new(&values[0], &again, None))?;
        tape.dropout(&tape.silu(&x)?, 0.25, &mut Fixed(seed))
    })?;
    tape.conv2d(&FusedConv2d::new(&x, weight("last.weight"), Some(weight("last.bias"))))
}

fn model(precision: Precision, with_cache: bool) -> TrainableModel {
    let shapes: [(&str, &[usize]); 9] = [
        ("first.weight", &[CHANNELS, 1, 3, 3]),
        ("first.bias", &[CHANNELS]),
        ("last.weight", &[1, CHANNELS, 3, 3]),
        ("last.bias", &[1]),
        ("norm.weight", &[CHANNELS]),
        ("norm.bias", &[CHANNELS]),
        ("second.weight", &[CHANNELS, CHANNELS]),
        ("time.weight", &[CHANNELS, 1]),
        ("time.bias", &[CHANNELS]),
    ];
    let vars = || -> BTreeMap<String, Var> {
        let var = |(position, (name, shape)): (usize, &(&str, &[usize]))| {
            let values = Stream::new(5, Purpose::InitialWeights, position as u64).normal(*shape, &Device::Cpu).unwrap();
            (name.to_string(), Var::from_tensor(&(values * 0.3).unwrap().to_device(&device()).unwrap()).unwrap())
        };
        shapes.iter().enumerate().map(var).collect()
    };
    let (parameters, ema_parameters) = (vars(), vars());
    let training_cache = TrainingCache::default();
    let weights: BTreeMap<String, Tensor> =
        parameters.iter().map(|(name, var)| (name.clone(), var.as_tensor().clone())).collect();
    let options = ComputeOptions {
        precision,
        training_cache: with_cache.then(|| training_cache.clone()),
        ..ComputeOptions::default()
    };
    TrainableModel {
        denoiser: Box::new(move |x_t: &Tensor, t: &Tensor, dropout: &mut Stream| -> Result<Recorded> {
            ddpm_ops::recorded(&options, &[x_t], |tape, x| network(tape, &x[0], t, &weights, dropout))
        }),
        parameters,
        ema_denoiser: Box::new(|x_t: &Tensor, _: &Tensor| Ok(x_t.clone())),
        trained_denoiser: None,
        ema_parameters,
        training_cache,
        classes: None,
    }
}

/// 1 + t / 100.
#[derive(Debug)]
struct RisingWeighting;

impl LossWeighting for RisingWeighting {
    fn weight(&self, _: &GaussianDiffusion, t: usize) -> f64 {
        1.0 + t as f64 / 100.0
    }
}

fn trainer(precision: Precision, cuda_graph: bool, with_cache: bool) -> Trainer {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap();
    let diffusion = GaussianDiffusion::new(schedule).with_prediction(Prediction::V);
    let model = model(precision, with_cache);
    Trainer::new(config(precision, cuda_graph), STEPS, diffusion, model, device())
        .unwrap()
        .with_objective(WeightedSquaredError::new(RisingWeighting))
}

/// Takes steps up to step `to`; the images of step 5 are not finite.
fn run(trainer: &mut Trainer, to: u64) -> Vec<(f64, bool)> {
    let batch = |k: u64| -> Result<Tensor> {
        let images = Stream::new(0, Purpose::Synthetic, k).normal((3, 1, 4, 4), &Device::Cpu)?;
        if k == 5 { images * f64::NAN } else { Ok(images) }
    };
    let mut batches = (trainer.state().batches..).map(batch);
    let mut losses = Vec::new();
    while trainer.state().step < to {
        assert_eq!(trainer.step(&mut batches, &|| false).unwrap(), StepOutcome::Taken);
        // Several records are in flight, so that each step has to write its own.
        if trainer.state().step.is_multiple_of(3) || trainer.state().step == to {
            losses.extend(trainer.reports().unwrap().iter().map(|report| (report.loss, report.skipped)));
        }
    }
    losses
}

fn bits(trainer: &Trainer) -> BTreeMap<String, Vec<u32>> {
    let snapshot = trainer.snapshot();
    let all = snapshot.ema_parameters.into_iter().map(|(name, tensor)| (format!("ema.{name}"), tensor));
    let values = |tensor: Tensor| tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap().to_vec1::<f32>().unwrap();
    let bits = |tensor| values(tensor).into_iter().map(f32::to_bits).collect();
    all.chain(snapshot.training).map(|(name, tensor)| (name, bits(tensor))).collect()
}

/// Runs this test again with an emulated GPU if there is none. The variable is read once in a process.
fn on_a_gpu(test: &str) -> bool {
    const EMULATE: &str = "DDPM_EMULATE_CUDA";
    if StepGraph::supports(&device()) {
        return true;
    }
    assert!(std::env::var_os(EMULATE).is_none(), "no GPU is emulated although {EMULATE} is set");
    let mut again = std::process::Command::new(std::env::current_exe().unwrap());
    assert!(again.args([test, "--exact"]).env(EMULATE, "1").status().unwrap().success());
    false
}

#[test]
fn replayed_steps_have_the_bits_of_computed_ones() {
    if !on_a_gpu("replayed_steps_have_the_bits_of_computed_ones") {
        return;
    }
    for precision in [Precision::F32, Precision::Bf16] {
        let mut plain = trainer(precision, false, false);
        let expected = run(&mut plain, STEPS);
        assert_eq!(expected.iter().filter(|(_, skipped)| *skipped).count(), 1);
        assert!(!plain.replays_steps());

        let mut cached = trainer(precision, false, true);
        let finite = |losses: &[(f64, bool)]| losses.iter().map(|(loss, _)| loss.to_bits()).collect::<Vec<_>>();
        assert_eq!(finite(&run(&mut cached, STEPS)), finite(&expected));
        assert_eq!(bits(&cached), bits(&plain), "{precision}");

        let mut captured = trainer(precision, true, true);
        assert_eq!(finite(&run(&mut captured, STEPS)), finite(&expected));
        assert!(captured.replays_steps());
        assert_eq!(bits(&captured), bits(&plain), "{precision}");
    }
}

/// A run that continues from a snapshot captures its step again, and changes no bit.
#[test]
fn a_restored_training_captures_its_step_again() {
    if !on_a_gpu("a_restored_training_captures_its_step_again") {
        return;
    }
    let mut whole = trainer(Precision::Bf16, true, true);
    run(&mut whole, STEPS);

    let mut first = trainer(Precision::Bf16, true, true);
    run(&mut first, 4);
    let mut second = trainer(Precision::Bf16, true, true);
    // Steps of its own before the snapshot fill the caches with other weights.
    run(&mut second, 3);
    second.restore(&first.snapshot()).unwrap();
    assert!(!second.replays_steps());
    run(&mut second, STEPS);
    assert!(second.replays_steps());
    assert_eq!(bits(&second), bits(&whole));
}

/// A network that draws other random numbers than seeds of dropout, or does not use the cache, is not captured.
#[test]
fn a_network_that_cannot_be_captured_is_computed() {
    if !on_a_gpu("a_network_that_cannot_be_captured_is_computed") {
        return;
    }
    let mut plain = trainer(Precision::F32, false, false);
    run(&mut plain, STEPS);
    let mut without_cache = trainer(Precision::F32, true, false);
    run(&mut without_cache, STEPS);
    assert!(!without_cache.replays_steps());
    assert_eq!(bits(&without_cache), bits(&plain));
}

#[test]
fn gradient_accumulation_is_not_captured() {
    let config = TrainConfig { gradient_accumulation_steps: 2, ..config(Precision::F32, true) };
    let error = config.validate().unwrap_err().to_string();
    assert!(error.starts_with("train.cuda_graph: expected false"), "{error}");
}
