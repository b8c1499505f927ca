//! Training a network with two parameters: what a step does, that a resumed run has the same bits, and how a loss that
//! is not finite is handled.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use candle_core::{DType, Device, Result, Tensor, Var};
use ddpm_checkpoint::{
    Checkpoint, ModelDescription, RunDir, StoredAverage, WeightAverage, list_weight_averages, read_metrics,
};
use ddpm_diffusion::{
    Clipping, DiffusionError, GaussianDiffusion, LossAndGradient, LossWeighting, Method, NoisyBatch, Objective,
    SamplerConfig, WeightedSquaredError,
};
use ddpm_ema::PowerFunction;
use ddpm_ops::{DeviceUpdate, Gradient, Precision, TrainingCache};
use ddpm_rng::{Purpose, Stream};
use ddpm_schedule::{BetaSchedule, Prediction, Schedule, Spacing, VarianceKind};
use ddpm_trainer::{
    AdamConfig, CpuUpdate, EmaDecays, Event, GpuUpdate, LearningRateSchedule, Observer, Optimizer, Outcome,
    ParameterUpdate, Preview, Snapshot, StepOutcome, StepReport, TrainConfig, TrainableModel, Trainer, TrainerError,
    UpdateConfig, Validation, ValidationHistory, ValidationLine, ValidationReport, train,
};

fn config() -> TrainConfig {
    TrainConfig {
        steps: Some(12),
        epochs: None,
        batch_size: 4,
        seed: 3,
        learning_rate: 0.05,
        learning_rate_schedule: LearningRateSchedule::Cosine,
        warmup_steps: 2,
        optimizer: Optimizer::Adam,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        gradient_clip_norm: 1.0,
        gradient_accumulation_steps: 1,
        gradient_bucket_mb: 25.0,
        precision: Precision::F32,
        recompute: false,
        cuda_graph: false,
        class_dropout: 0.1,
        ema_decay: 0.9.into(),
        ema_warmup: true,
        power_ema_every_steps: 0,
        checkpoint_every_steps: 5,
        keep_last_checkpoints: 2,
        keep_every_steps: 0,
        sample_every_steps: 4,
        validate_every_steps: None,
        stop_when_overfit: false,
        log_every_steps: 1,
        max_skipped_steps: 3,
    }
}

/// ε̂ = a x_t + b t / 100, with a random part: dropout on its input.
fn model() -> TrainableModel {
    let vars = || -> BTreeMap<String, Var> {
        let var = |v: f32| Var::from_tensor(&Tensor::full(v, (1, 1, 1, 1), &Device::Cpu).unwrap()).unwrap();
        BTreeMap::from([("a".to_string(), var(0.1)), ("b".to_string(), var(-0.2))])
    };
    let (parameters, ema_parameters) = (vars(), vars());
    let predict = |vars: &BTreeMap<String, Var>, x_t: &Tensor, t: &Tensor| -> Result<Tensor> {
        let time = (t.reshape(((), 1, 1, 1))? / 100.0)?;
        x_t.broadcast_mul(&vars["a"])?.broadcast_add(&time.broadcast_mul(&vars["b"])?)
    };
    let [trained, raw, averaged] = [&parameters, &parameters, &ema_parameters].map(Clone::clone);
    TrainableModel {
        denoiser: Box::new(move |x_t: &Tensor, t: &Tensor, dropout: &mut Stream| {
            let factor = if dropout.bernoulli(0.5) { 0.5 } else { 1.5 };
            Ok(predict(&trained, &(x_t * factor)?, t)?.into())
        }),
        parameters,
        ema_denoiser: Box::new(move |x_t: &Tensor, t: &Tensor| predict(&averaged, x_t, t)),
        trained_denoiser: Some(Box::new(move |x_t: &Tensor, t: &Tensor| predict(&raw, x_t, t))),
        ema_parameters,
        training_cache: TrainingCache::default(),
        classes: None,
    }
}

fn trainer(config: TrainConfig) -> Trainer {
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap();
    let steps = config.total_steps(10);
    Trainer::new(config, steps, GaussianDiffusion::new(schedule), model(), Device::Cpu).unwrap()
}

/// Batch k depends on k alone, like that of a data loader.
fn batches(from: u64) -> impl Iterator<Item = Result<Tensor>> {
    (from..).map(|k| Stream::new(0, Purpose::Synthetic, k).normal((4, 1, 2, 2), &Device::Cpu))
}

fn values(trainer: &Trainer) -> Vec<(String, Vec<f32>)> {
    let snapshot = trainer.snapshot();
    let all = snapshot.ema_parameters.into_iter().chain(snapshot.training);
    all.map(|(name, t)| (name, t.flatten_all().unwrap().to_vec1().unwrap())).collect()
}

/// Takes a step and waits for its report.
fn one_step(trainer: &mut Trainer, batches: &mut dyn Iterator<Item = Result<Tensor>>) -> StepReport {
    assert_eq!(trainer.step(batches, &|| false).unwrap(), StepOutcome::Taken);
    let reports = trainer.reports().unwrap();
    assert_eq!(reports.len(), 1);
    reports[0]
}

/// Records the events of a run.
#[derive(Default)]
struct EventLog {
    /// The reported steps.
    steps: Vec<u64>,
    previews: Vec<(u64, Vec<f32>)>,
    /// The steps of the previews that also show the trained weights.
    trained_previews: Vec<u64>,
    /// Number of batches that the trainer has read.
    batches_read: Rc<Cell<u64>>,
    /// The value of `batches_read` when each step was reported.
    batches_at_report: Vec<u64>,
    /// The step after which the run is stopped.
    stop_after: Option<u64>,
}

impl Observer for EventLog {
    fn event(&mut self, event: Event<'_>) -> std::result::Result<(), Box<dyn std::error::Error + Send + Sync>> {
        match event {
            Event::Step(report) => {
                self.steps.push(report.step);
                self.batches_at_report.push(self.batches_read.get());
            }
            Event::Preview { step, images } => {
                self.previews.push((step, images.averaged.flatten_all()?.to_vec1()?));
                self.trained_previews.extend(images.trained.is_some().then_some(step));
            }
            _ => {}
        }
        Ok(())
    }

    fn should_stop(&self) -> bool {
        self.stop_after.is_some_and(|step| self.steps.last() >= Some(&step))
    }
}

fn run_training(
    trainer: &mut Trainer,
    run: &mut RunDir,
    log: &mut EventLog,
) -> std::result::Result<Outcome, TrainerError> {
    run_with(trainer, run, None, log)
}

fn run_with(
    trainer: &mut Trainer,
    run: &mut RunDir,
    validation: Option<&Validation>,
    log: &mut EventLog,
) -> std::result::Result<Outcome, TrainerError> {
    let preview = Preview {
        images: 2,
        image_shape: [1, 2, 2],
        sampler: SamplerConfig::new(Method::Ddpm, Clipping::Fixed, VarianceKind::FixedLarge, 5, Spacing::Trailing),
        seed: 1,
        labels: Vec::new(),
    };
    let describe =
        |step| Ok(ModelDescription::new(&"net", &"schedule", Prediction::Epsilon, &"sampler", 1, [2, 2], step)?);
    let read = log.batches_read.clone();
    let mut batches = batches(trainer.state().batches).inspect(|_| read.set(read.get() + 1));
    train(trainer, &mut batches, Some(run), &preview, validation, &describe, log)
}

#[test]
fn stopping_and_resuming_changes_no_bit() {
    for accumulation in [1, 3] {
        let config = TrainConfig {
            gradient_accumulation_steps: accumulation,
            gradient_bucket_mb: 25.0,
            ema_decay: [0.9, 0.5, 0.99].into(),
            power_ema_every_steps: 5,
            ..config()
        };
        let root = tempfile::tempdir().unwrap();
        let mut whole = trainer(config.clone());
        let mut run = RunDir::create(root.path().join("whole")).unwrap();
        let mut log = EventLog::default();
        assert_eq!(run_training(&mut whole, &mut run, &mut log).unwrap(), Outcome::Finished);
        assert_eq!(log.previews.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [4, 8, 12]);

        let mut run = RunDir::create(root.path().join("parts")).unwrap();
        let mut first = trainer(config.clone());
        let mut stopped = EventLog { stop_after: Some(7), ..EventLog::default() };
        assert_eq!(run_training(&mut first, &mut run, &mut stopped).unwrap(), Outcome::Stopped);
        let checkpoint = run.load_latest().unwrap().unwrap();
        assert_eq!(checkpoint.step, 7);
        let mut second = trainer(config);
        let state = serde_json::from_value(checkpoint.state).unwrap();
        let snapshot =
            ddpm_trainer::Snapshot { ema_parameters: checkpoint.model, training: checkpoint.training, state };
        second.restore(&snapshot).unwrap();
        let mut resumed = EventLog::default();
        assert_eq!(run_training(&mut second, &mut run, &mut resumed).unwrap(), Outcome::Finished);
        assert_eq!(resumed.steps, [8, 9, 10, 11, 12]);
        assert_eq!(values(&whole), values(&second));
        let stored = list_weight_averages(run.path()).unwrap();
        let profile = |stored: &StoredAverage| (stored.step, stored.sigma_rel);
        let expected = [5, 10, 12].into_iter().flat_map(|step| [(step, 0.05), (step, 0.1)]);
        assert_eq!(stored.iter().map(profile).collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        // Previews continue from the same latents.
        assert_eq!(log.previews[1..], resumed.previews[..]);
        let steps: Vec<u64> = read_metrics::<serde_json::Value>(run.metrics_path())
            .unwrap()
            .iter()
            .map(|line| line["step"].as_u64().unwrap())
            .collect();
        assert_eq!(steps, (1..=12).collect::<Vec<_>>());
    }
}

/// Each average is that of a run that has it alone, and the averages change neither the weights nor each other.
#[test]
fn further_averages_are_those_of_other_runs() {
    let after = |ema_decay: EmaDecays, steps: usize| {
        let mut trainer = trainer(TrainConfig { ema_decay, power_ema_every_steps: 1, ..config() });
        let mut data = batches(0);
        let mut weights = Vec::new();
        for _ in 0..steps {
            one_step(&mut trainer, &mut data);
            weights.push(value(&trainer.snapshot().training["parameter.a"]));
        }
        (trainer, weights)
    };
    let (several, weights) = after([0.9, 0.5].into(), 8);
    let snapshot = several.snapshot();
    for (decay, tensor) in [(0.9, &snapshot.ema_parameters["a"]), (0.5, &snapshot.training["ema.0.5.a"])] {
        let (single, same_weights) = after(decay.into(), 8);
        assert_eq!(weights, same_weights);
        assert_eq!(value(tensor), value(&single.snapshot().ema_parameters["a"]), "{decay}");
    }
    // The definition of a power-function average: a sum whose weights are k^(γ + 1) - (k - 1)^(γ + 1).
    let averages = several.power_averages();
    assert_eq!(averages.iter().map(|average| average.sigma_rel).collect::<Vec<_>>(), [0.05, 0.1]);
    for WeightAverage { sigma_rel, tensors } in averages {
        let power = PowerFunction::new(sigma_rel).unwrap().gamma() + 1.0;
        let share = |k: usize| ((k as f64).powf(power) - (k as f64 - 1.0).powf(power)) / 8_f64.powf(power);
        let expected: f64 = weights.iter().enumerate().map(|(i, weight)| share(i + 1) * f64::from(*weight)).sum();
        assert!((f64::from(value(&tensors["a"])) - expected).abs() < 1e-6, "{sigma_rel}");
    }
}

fn value(tensor: &Tensor) -> f32 {
    tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]
}

/// An average that is added later starts from the first one. Power-function averages cannot be added later.
#[test]
fn averages_can_be_added_to_a_run_or_say_why_not() {
    let mut before = trainer(config());
    let mut data = batches(0);
    for _ in 0..3 {
        one_step(&mut before, &mut data);
    }
    let snapshot = before.snapshot();
    let mut after = trainer(TrainConfig { ema_decay: [0.99, 0.9].into(), ..config() });
    after.restore(&snapshot).unwrap();
    assert_eq!(value(&after.snapshot().training["ema.0.9.a"]), value(&snapshot.ema_parameters["a"]));
    let mut power = trainer(TrainConfig { power_ema_every_steps: 2, ..config() });
    let error = power.restore(&snapshot).unwrap_err().to_string();
    assert!(error.contains("train.power_ema_every_steps: expected 0"), "{error}");
    // From the beginning on it can.
    power.restore(&trainer(config()).snapshot()).unwrap();
}

/// With a decay of 0.9, the initial weights would be 1 % of the average after 44 steps.
#[test]
fn previews_show_the_trained_weights_while_their_average_is_young() {
    let config = TrainConfig { steps: Some(60), sample_every_steps: 20, ..config() };
    let root = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(root.path().join("run")).unwrap();
    let mut log = EventLog::default();
    assert_eq!(run_training(&mut trainer(config), &mut run, &mut log).unwrap(), Outcome::Finished);
    assert_eq!(log.previews.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [20, 40, 60]);
    assert_eq!(log.trained_previews, [20, 40]);
}

/// On a GPU the steps between two lines of the metrics are taken before the earlier ones are reported. Weights and
/// metrics are those of a run that reports every step at once.
#[test]
fn steps_that_run_ahead_of_their_reports_are_the_same_steps() {
    let root = tempfile::tempdir().unwrap();
    let numbers = |log_every_steps: u64| {
        let config = TrainConfig { log_every_steps, checkpoint_every_steps: 7, sample_every_steps: 0, ..config() };
        let mut trainer = trainer(config);
        let mut run = RunDir::create(root.path().join(log_every_steps.to_string())).unwrap();
        let mut log = EventLog::default();
        assert_eq!(run_training(&mut trainer, &mut run, &mut log).unwrap(), Outcome::Finished);
        assert_eq!(log.steps, (1..=12).collect::<Vec<_>>());
        assert_eq!(run.load_latest().unwrap().unwrap().step, 12);
        let mut lines = read_metrics::<serde_json::Value>(run.metrics_path()).unwrap();
        for line in &mut lines {
            line["images_per_sec"].take();
            line["data_wait_share"].take();
            line["time"].take();
        }
        (values(&trainer), lines, log.batches_at_report)
    };
    let (every, all, at_once) = numbers(1);
    let (fifth, some, later) = numbers(5);
    assert_eq!(every, fifth);
    let expected: Vec<_> =
        all.into_iter().filter(|line| [1, 5, 10, 12].contains(&line["step"].as_u64().unwrap())).collect();
    assert_eq!(some, expected);
    assert_eq!(at_once, (1..=12).collect::<Vec<_>>());
    // Steps 7 and 12 write checkpoints, which wait for all steps before them.
    let ahead = [1, 5, 5, 5, 5, 7, 7, 10, 10, 10, 12, 12];
    let runs_ahead = DeviceUpdate::supports(model().parameters["a"].as_tensor());
    assert_eq!(later, if runs_ahead { ahead.to_vec() } else { at_once });
}

#[test]
fn accumulating_two_batches_is_a_step_on_both() {
    let mut parts = trainer(TrainConfig { gradient_accumulation_steps: 2, ..config() });
    let report = one_step(&mut parts, &mut batches(0));
    // The loss of the step is the mean over both batches, each with its own timesteps, noise and dropout.
    let mut one = trainer(config());
    let mut data = batches(0);
    // With a learning rate of nearly 0, the second loss is that of the same weights.
    let slow = TrainConfig { learning_rate: 1e-30, ..config() };
    let mut slow = trainer(slow);
    let losses: Vec<f64> = (0..2).map(|_| one_step(&mut slow, &mut data).loss).collect();
    assert!((report.loss - (losses[0] + losses[1]) / 2.0).abs() < 1e-6, "{} {losses:?}", report.loss);
    assert_eq!(one_step(&mut one, &mut batches(0)).loss, losses[0]);
    assert_eq!(parts.state().batches, 2);
}

/// For images of one color c, x_t determines every target, so a network that predicts it has a loss of 0 for any
/// noise.
#[test]
fn the_target_is_what_the_network_is_to_predict() {
    const C: f64 = 0.6;
    let schedule = || Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap();
    let kinds = [Prediction::Epsilon, Prediction::X0, Prediction::V];
    let loss = |aim: Prediction, given: Prediction| {
        let oracle = move |x_t: &Tensor, t: &Tensor, _: &mut Stream| -> Result<_> {
            let alpha_bar = |t: f32| schedule().alpha_bar(t as usize);
            let alpha_bar: Vec<f64> = t.to_vec1::<f32>()?.into_iter().map(alpha_bar).collect();
            let alpha_bar = Tensor::from_vec(alpha_bar, (t.dim(0)?, 1, 1, 1), t.device())?;
            let (signal, noise) = (alpha_bar.sqrt()?, (1.0 - &alpha_bar)?.sqrt()?);
            let eps = x_t.to_dtype(DType::F64)?.broadcast_sub(&(&signal * C)?)?.broadcast_div(&noise)?;
            let output = match given {
                Prediction::Epsilon => eps,
                Prediction::X0 => eps.ones_like()?.affine(C, 0.0)?,
                Prediction::V => signal.broadcast_mul(&eps)?.broadcast_sub(&(noise * C)?)?,
            };
            Ok(output.to_dtype(DType::F32)?.into())
        };
        let model = TrainableModel { denoiser: Box::new(oracle), ..model() };
        let diffusion = GaussianDiffusion::new(schedule()).with_prediction(aim);
        let mut trainer = Trainer::new(config(), 12, diffusion, model, Device::Cpu).unwrap();
        let image = Tensor::full(C as f32, (4, 1, 2, 2), &Device::Cpu);
        one_step(&mut trainer, &mut std::iter::once(image)).loss
    };
    for (aim, given) in kinds.into_iter().flat_map(|aim| kinds.map(|given| (aim, given))) {
        let loss = loss(aim, given);
        assert_eq!(loss < 1e-8, aim == given, "{aim:?} of a network that gives {given:?}: {loss:e}");
    }
}

/// A weighting that no crate of the workspace implements: 2 for the noisier half of the timesteps, 0 for the others.
#[derive(Debug)]
struct NoisyHalf;

impl LossWeighting for NoisyHalf {
    fn weight(&self, diffusion: &GaussianDiffusion, t: usize) -> f64 {
        if diffusion.schedule().snr(t) < 1.0 { 2.0 } else { 0.0 }
    }
}

/// The mean absolute error, of which this workspace has no implementation.
#[derive(Debug)]
struct AbsoluteError;

impl Objective for AbsoluteError {
    fn loss_and_gradient(
        &self,
        diffusion: &GaussianDiffusion,
        batch: &NoisyBatch<'_>,
        output: &Tensor,
    ) -> std::result::Result<LossAndGradient, DiffusionError> {
        let difference = (output - diffusion.target(batch.x_0, batch.eps, batch.t)?)?;
        let gradient = (difference.sign()? / difference.elem_count() as f64)?;
        Ok(LossAndGradient { loss: difference.abs()?.mean_all()?, gradient })
    }
}

/// Weightings and objectives need no change of the trainer: each of them decreases on gray images, x_0 = 0, whose
/// noise follows from x_t.
#[test]
fn objectives_of_other_crates_train() {
    let config = TrainConfig { steps: Some(200), learning_rate_schedule: LearningRateSchedule::Constant, ..config() };
    let losses = |trainer: Trainer| -> Vec<f64> {
        let (mut trainer, mut gray) =
            (trainer, std::iter::repeat_with(|| Tensor::zeros((4, 1, 2, 2), DType::F32, &Device::Cpu)));
        (0..200).map(|_| one_step(&mut trainer, &mut gray).loss).collect()
    };
    // With a learning rate of nearly 0 the weights do not change: the losses of the same timesteps and noise before
    // training.
    let slow = TrainConfig { learning_rate: 1e-30, ..config.clone() };
    let mut first_losses = Vec::new();
    let mut check = |minimizing: &dyn Fn(Trainer) -> Trainer| {
        let (trained, untrained) =
            (losses(minimizing(trainer(config.clone()))), losses(minimizing(trainer(slow.clone()))));
        let (after, before) = (trained[50..].iter().sum::<f64>(), untrained[50..].iter().sum::<f64>());
        assert!(after < 0.8 * before, "{after} {before}");
        first_losses.push(trained[0]);
    };
    check(&|trainer| trainer);
    check(&|trainer| trainer.with_objective(WeightedSquaredError::l_simple()));
    check(&|trainer| trainer.with_objective(WeightedSquaredError::new(NoisyHalf)));
    check(&|trainer| trainer.with_objective(AbsoluteError));
    // The first batch and the initial weights are the same, and L_simple is what a trainer minimizes by default.
    assert_eq!(first_losses[0], first_losses[1]);
    assert!(first_losses[1] != first_losses[2] && first_losses[1] != first_losses[3], "{first_losses:?}");
}

/// Both implementations of the update take the same steps, skip the same step, and continue from each other's state.
#[test]
fn updates_on_cpu_and_gpu_agree() {
    let update_config = UpdateConfig {
        adam: AdamConfig { optimizer: Optimizer::AdamW, beta1: 0.9, beta2: 0.99, epsilon: 1e-8, weight_decay: 0.1 },
        max_gradient_norm: Some(0.5),
        ema_decay: 0.9,
        ema_warmup: true,
    };
    let run = |create: &dyn Fn(&TrainableModel) -> Box<dyn ParameterUpdate>| {
        let model = model();
        let mut update = create(&model);
        let mut records = Vec::new();
        for step in 0..4 {
            let value = if step == 2 { f32::NAN } else { 0.3 + step as f32 };
            let gradient = |name: &String| {
                let gradient = Tensor::full(value, (1, 1, 1, 1), &Device::Cpu).unwrap();
                (name.clone(), Gradient::from(gradient))
            };
            let gradients = model.parameters.keys().map(gradient).collect();
            update.step(&Tensor::new(1.0f32, &Device::Cpu).unwrap(), gradients, 0.1).unwrap();
            // After half of the steps, another update of the same type continues from the saved state.
            if step == 1 {
                records.extend(update.take_records().unwrap());
                let moments = update.moments();
                update = create(&model);
                update.restore(&moments, 2, 2).unwrap();
            }
        }
        records.extend(update.take_records().unwrap());
        assert_eq!(records.iter().map(|record| record.skipped).collect::<Vec<_>>(), [false, false, true, false]);
        assert!(update.take_records().unwrap().is_empty());
        let tensors = model.parameters.values().chain(model.ema_parameters.values()).map(|var| var.as_tensor().clone());
        let values = tensors
            .chain(update.moments().into_values())
            .map(|tensor| f64::from(tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap()[0]));
        (values.collect::<Vec<_>>(), records.iter().map(|record| record.gradient_norm).collect::<Vec<_>>())
    };
    let cpu = |model: &TrainableModel| -> Box<dyn ParameterUpdate> {
        Box::new(CpuUpdate::new(update_config, &model.parameters, &model.ema_parameters).unwrap())
    };
    let (values, norms) = run(&cpu);
    // Two parameters have the same gradient, so the norm is √2 times its absolute value.
    assert!((norms[0] - 0.3 * 2f64.sqrt()).abs() < 1e-6 && norms[2].is_nan(), "{norms:?}");
    assert!(values.iter().all(|value| value.is_finite()), "{values:?}");

    if GpuUpdate::supports(&model().parameters) {
        let gpu = |model: &TrainableModel| -> Box<dyn ParameterUpdate> {
            Box::new(GpuUpdate::new(update_config, &model.parameters, &model.ema_parameters).unwrap())
        };
        let (found, found_norms) = run(&gpu);
        for (found, expected) in found.iter().zip(&values).chain([(&found_norms[3], &norms[3])]) {
            // Four steps in f32, with sums in another order.
            assert!((found - expected).abs() < 1e-6 * expected.abs().max(1.0), "{found} {expected}");
        }
    }
}

#[test]
fn a_parameter_without_ema_is_named() {
    let mut model = model();
    model.ema_parameters.remove("b");
    let schedule = Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap();
    let error = Trainer::new(config(), 12, GaussianDiffusion::new(schedule), model, Device::Cpu).unwrap_err();
    assert!(error.to_string().contains("the EMA of b: expected shape [1, 1, 1, 1], found none"), "{error}");
}

#[test]
fn a_step_that_is_only_tried_says_whether_it_fits_and_changes_nothing() {
    const MOST: usize = 3;
    let TrainableModel { denoiser, .. } = model();
    let full = move |x_t: &Tensor, t: &Tensor, dropout: &mut Stream| -> Result<_> {
        if x_t.dim(0)? > MOST {
            candle_core::bail!("out of memory");
        }
        denoiser.predict_train(x_t, t, dropout)
    };
    let model = TrainableModel { denoiser: Box::new(full), ..model() };
    let diffusion = GaussianDiffusion::new(Schedule::new(&BetaSchedule::Linear { start: 1e-3, end: 0.2 }, 50).unwrap());
    let trainer = Trainer::new(config(), 12, diffusion, model, Device::Cpu).unwrap();
    let before = (values(&trainer), trainer.state().clone());
    assert!(trainer.try_forward_backward(1, [4, 1, 2, 2]).unwrap_err().to_string().contains("out of memory"));
    trainer.try_forward_backward(2, [MOST, 1, 2, 2]).unwrap();
    assert_eq!((values(&trainer), trainer.state().clone()), before);
}

#[test]
fn a_batch_that_is_not_finite_is_skipped() {
    let mut trainer = trainer(config());
    let before = values(&trainer);
    let bad = Tensor::full(f32::NAN, (4, 1, 2, 2), &Device::Cpu);
    let mut data = std::iter::once(bad).chain(batches(1));
    let report = one_step(&mut trainer, &mut data);
    assert!(report.skipped && report.skipped_in_a_row == 1);
    assert_eq!(values(&trainer), before);
    assert!(!one_step(&mut trainer, &mut data).skipped);
    assert_ne!(values(&trainer), before);
    assert_eq!((trainer.state().step, trainer.state().skipped), (2, 1));
}

#[test]
fn too_many_skipped_steps_end_the_run_and_spare_the_checkpoint() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(root.path().join("run")).unwrap();
    let mut trainer = trainer(config());
    let describe =
        |step| Ok(ModelDescription::new(&"net", &"schedule", Prediction::Epsilon, &"sampler", 1, [2, 2], step)?);
    let mut data =
        batches(0).take(6).chain(std::iter::repeat_with(|| Tensor::full(f32::NAN, (4, 1, 2, 2), &Device::Cpu)));
    let preview = Preview {
        images: 0,
        image_shape: [1, 2, 2],
        sampler: SamplerConfig::new(Method::Ddpm, Clipping::None, VarianceKind::FixedLarge, 5, Spacing::Leading),
        seed: 1,
        labels: Vec::new(),
    };
    let error = train(&mut trainer, &mut data, Some(&mut run), &preview, None, &describe, &mut EventLog::default())
        .unwrap_err();
    let message = error.to_string();
    assert!(message.contains("3 steps in a row") && message.contains("step-000005"), "{message}");
    assert_eq!(run.load_latest().unwrap().unwrap().step, 5);
}

#[test]
fn data_that_ends_or_fails_is_named() {
    let mut trainer = trainer(config());
    let error = trainer.step(&mut std::iter::empty::<Result<Tensor>>(), &|| false).unwrap_err();
    assert!(error.to_string().contains("batch 0"), "{error}");
    let failing = || -> std::result::Result<Tensor, String> { Err("cat.png is damaged".into()) };
    let error = trainer.step(&mut std::iter::repeat_with(failing), &|| false).unwrap_err();
    assert!(error.to_string().contains("cat.png"), "{error}");
}

#[test]
fn another_runs_state_is_refused() {
    let snapshot = trainer(config()).snapshot();
    let mut other = trainer(TrainConfig { seed: 4, ..config() });
    assert!(other.restore(&snapshot).unwrap_err().to_string().contains("train.seed was 3 and is now 4"));
    let mut damaged = snapshot.clone();
    damaged.training.remove("adam.first.a");
    assert!(trainer(config()).restore(&damaged).unwrap_err().to_string().contains("adam.first.a"));
}

#[test]
fn bad_configurations_name_the_field() {
    type Change = fn(&mut TrainConfig);
    let cases: [(&str, Change); 12] = [
        ("train.steps", |c| c.steps = None),
        ("train.steps", |c| c.epochs = Some(1)),
        ("train.steps", |c| c.steps = Some(0)),
        ("train.batch_size", |c| c.batch_size = 0),
        ("train.learning_rate", |c| c.learning_rate = f64::NAN),
        ("train.learning_rate", |c| c.learning_rate = 0.0),
        ("train.ema_decay", |c| c.ema_decay = 1.0.into()),
        ("train.ema_decay", |c| c.ema_decay = [].into()),
        ("train.ema_decay", |c| c.ema_decay = [0.9, 0.9].into()),
        ("train.ema_decay", |c| c.ema_decay = [0.9, f64::NAN].into()),
        ("train.gradient_clip_norm", |c| c.gradient_clip_norm = -1.0),
        ("train.max_skipped_steps", |c| c.max_skipped_steps = 0),
    ];
    for (field, change) in cases {
        let mut config = config();
        change(&mut config);
        let message = config.validate().unwrap_err().to_string();
        assert!(message.starts_with(field), "{message}");
    }
}

#[test]
fn epochs_count_batches() {
    let config = TrainConfig { steps: None, epochs: Some(3), gradient_accumulation_steps: 4, ..config() };
    assert_eq!(config.total_steps(10), 8);
    assert_eq!(config.total_steps(0), 1);
}

/// Held-out images of another distribution than the training images, so that their loss is another one.
fn validation() -> Validation {
    let images = |purpose, scale: f64| -> Tensor {
        let images = Stream::new(0, purpose, 1_000_000).normal((7, 1, 2, 2), &Device::Cpu).unwrap();
        (images * scale).unwrap()
    };
    let (held_out, training) = (images(Purpose::Evaluation, 2.0), images(Purpose::Synthetic, 1.0));
    Validation::new(held_out.into(), training.into()).unwrap()
}

fn run_validated(trainer: &mut Trainer, run: &mut RunDir, stop_after: Option<u64>) -> Outcome {
    let mut log = EventLog { stop_after, ..EventLog::default() };
    run_with(trainer, run, Some(&validation()), &mut log).unwrap()
}

fn validations(run: &RunDir) -> Vec<ValidationReport> {
    let lines: Vec<ValidationLine> = read_metrics(run.metrics_path()).unwrap();
    lines.into_iter().map(|line| line.validation).collect()
}

/// The losses are those of the definition: the mean over evenly spread timesteps of the squared error of the averaged
/// weights. Validations change no bit of a run, and a stopped run has those of a run that was not stopped.
#[test]
fn validations_follow_the_averaged_weights_and_change_nothing() {
    let root = tempfile::tempdir().unwrap();
    let config = TrainConfig { validate_every_steps: Some(4), sample_every_steps: 0, ..config() };
    let mut run = RunDir::create(root.path().join("whole")).unwrap();
    let mut whole = trainer(config.clone());
    assert_eq!(run_validated(&mut whole, &mut run, None), Outcome::Finished);
    let reports = validations(&run);
    assert_eq!(reports.iter().map(|report| report.step).collect::<Vec<_>>(), [4, 8, 12]);

    let mut without = trainer(config.clone());
    let mut data = batches(0);
    for _ in 0..12 {
        one_step(&mut without, &mut data);
    }
    assert_eq!(values(&whole), values(&without));

    // An estimate with other noise and many more draws.
    let last = reports.last().unwrap();
    let again = validation().evaluate(&whole, &|| false).unwrap().unwrap();
    assert_eq!(again, *last);
    assert!(validation().evaluate(&whole, &|| true).unwrap().is_none());
    let expected = |purpose, scale: f64| {
        let x_0 = Stream::new(0, purpose, 1_000_000).normal((7, 1, 2, 2), &Device::Cpu).unwrap();
        let x_0 = (x_0 * scale).unwrap();
        let mut noise = Stream::new(9, Purpose::TrainingNoise, 0);
        let (mut sum, draws) = ([0.0; 4], 40);
        for t in 0..50 {
            for _ in 0..draws {
                let eps = noise.normal((7, 1, 2, 2), &Device::Cpu).unwrap();
                let x_t = whole.diffusion().q_sample(&x_0, &[t; 7], &eps).unwrap();
                let timesteps = Tensor::full(t as f32, 7, &Device::Cpu).unwrap();
                let output = whole.ema_denoiser().predict(&x_t, &timesteps).unwrap();
                let error = (output - eps).unwrap().sqr().unwrap().mean_all().unwrap().to_scalar::<f32>().unwrap();
                sum[(4 * t + 2) / 50] += f64::from(error) / f64::from(draws);
            }
        }
        // Twelve and thirteen timesteps.
        let counts: Vec<f64> = (0..4).map(|band| (0..50).filter(|t| (4 * t + 2) / 50 == band).count() as f64).collect();
        [0, 1, 2, 3].map(|band| sum[band] / counts[band])
    };
    let sides = [(last.held_out, Purpose::Evaluation, 2.0), (last.training, Purpose::Synthetic, 1.0)];
    for (losses, purpose, scale) in sides {
        let expected = expected(purpose, scale);
        for (found, expected) in losses.bands.iter().zip(expected) {
            assert!((found / expected - 1.0).abs() < 0.15, "{:?} is not {expected}", losses.bands);
        }
        assert!((losses.total - losses.bands.iter().sum::<f64>() / 4.0).abs() < 1e-12);
    }

    let mut run = RunDir::create(root.path().join("parts")).unwrap();
    assert_eq!(run_validated(&mut trainer(config.clone()), &mut run, Some(7)), Outcome::Stopped);
    let checkpoint = run.load_latest().unwrap().unwrap();
    let mut second = trainer(config);
    let state = serde_json::from_value(checkpoint.state).unwrap();
    second.restore(&Snapshot { ema_parameters: checkpoint.model, training: checkpoint.training, state }).unwrap();
    assert_eq!(run_validated(&mut second, &mut run, None), Outcome::Finished);
    assert_eq!(validations(&run), reports);
}

/// The checkpoint with the lowest held-out loss survives the others, and a run that gets worse ends.
#[test]
fn the_best_checkpoint_is_kept_and_an_overfit_run_ends() {
    let root = tempfile::tempdir().unwrap();
    let mut run = RunDir::create(root.path().join("run")).unwrap();
    // A learning rate without bounds makes the loss rise.
    let config = TrainConfig {
        steps: Some(60),
        learning_rate: 0.4,
        learning_rate_schedule: LearningRateSchedule::Constant,
        warmup_steps: 0,
        checkpoint_every_steps: 1,
        keep_last_checkpoints: 1,
        sample_every_steps: 0,
        validate_every_steps: Some(1),
        stop_when_overfit: true,
        ..config()
    };
    assert_eq!(run_validated(&mut trainer(config), &mut run, None), Outcome::Overfit);
    let reports = validations(&run);
    let history = ValidationHistory::new(reports.clone());
    let best = history.best().unwrap().step;
    let last = reports.last().unwrap().step;
    assert!(history.is_overfit() && best < last && last < 60, "{best} {last}");
    assert_eq!(run.best_step(), Some(best));
    let kept = Checkpoint::load(run.checkpoints_path().join("best")).unwrap();
    assert_eq!(kept.step, best);
    assert_eq!(run.checkpoints().unwrap().iter().map(|entry| entry.step).collect::<Vec<_>>(), [last]);
    // A run that returns to an earlier step forgets a best one that it has not reached.
    run.discard_checkpoints_after(best - 1).unwrap();
    assert_eq!(run.best_step(), None);
}
