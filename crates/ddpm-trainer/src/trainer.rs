//! One optimiser step at a time, and the state that the next one depends on.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, Var};
use ddpm_diffusion::{Denoiser, GaussianDiffusion};
use ddpm_ops::{
    DeviceUpdate, Gradient, ParameterGradients, UpdateRecord, UpdateStep, Updated, mean_squared_error_and_gradient,
};
use ddpm_rng::{Purpose, Stream};
use serde::{Deserialize, Serialize};

use crate::adam::Adam;
use crate::ema::Ema;
use crate::gradient_clip::{clip_scale, global_norm};
use crate::model::TrainableModel;
use crate::{TrainConfig, TrainerError};

/// What a step did.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepReport {
    /// Steps completed, this one included: from 1.
    pub step: u64,
    /// L_simple of the step's batches, mean over all elements.
    pub loss: f64,
    /// The rate that the step was taken with.
    pub learning_rate: f64,
    /// The global norm of the gradient before clipping.
    pub gradient_norm: f64,
    /// Whether the weights stayed as they were because loss or gradient was not finite.
    pub skipped: bool,
    /// Steps skipped in a row, this one included.
    #[serde(skip)]
    pub skipped_in_a_row: u64,
    /// Images over seconds of this step.
    pub images_per_sec: f64,
    /// The share of this step that was spent waiting for data, in [0, 1].
    pub data_wait_share: f64,
}

/// The numbers that a resumed run goes on from; the tensors are in [`Snapshot`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainingState {
    /// Optimiser steps completed, skipped ones included.
    pub step: u64,
    /// Batches taken from the data: also the position of the random streams of time steps, noise and dropout.
    pub batches: u64,
    /// Adam's own count, skipped steps left out.
    pub optimizer_steps: u64,
    /// Updates of the averaged weights.
    pub ema_updates: u64,
    /// Steps skipped in a row so far.
    pub skipped_in_a_row: u64,
    /// Steps skipped in the whole run.
    pub skipped: u64,
    /// The seed of every stream.
    pub seed: u64,
    /// The batch size that `batches` counts in.
    pub batch_size: usize,
}

/// Everything that the next step depends on.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The averaged weights, by name.
    pub averages: BTreeMap<String, Tensor>,
    /// The weights as `parameter.NAME` and Adam's moments.
    pub training: BTreeMap<String, Tensor>,
    /// The numbers.
    pub state: TrainingState,
}

/// What the batches of one step come to.
struct Accumulated {
    /// Mean over the batches, a scalar on the device.
    loss: Option<Tensor>,
    /// Of that mean, by parameter.
    gradients: BTreeMap<String, Gradient>,
    /// Time spent waiting for the batches.
    waited: Duration,
}

/// A step whose record is not read yet.
#[derive(Debug)]
struct Begun {
    step: u64,
    learning_rate: f64,
    start: Instant,
    waited: Duration,
}

/// Trains one model: algorithm 1 of Ho et al. 2020, with accumulation, clipping, Adam and EMA.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    total_steps: u64,
    diffusion: GaussianDiffusion,
    device: Device,
    model: TrainableModel,
    adam: Adam,
    ema: Ema,
    /// On a GPU: clipping, Adam and the average, of which the CPU hears later.
    on_device: Option<DeviceUpdate>,
    /// What the steps since the last report came to, where it is known at once.
    records: Vec<UpdateRecord>,
    begun: Vec<Begun>,
    state: TrainingState,
}

impl Trainer {
    /// A run of `total_steps` steps from the model's present weights.
    ///
    /// # Errors
    /// When the configuration is invalid or the device has no room for the moments.
    pub fn new(
        config: TrainConfig,
        total_steps: u64,
        diffusion: GaussianDiffusion,
        model: TrainableModel,
        device: Device,
    ) -> Result<Self, TrainerError> {
        config.validate()?;
        let adam = Adam::new(config.adam(), &model.parameters)?;
        let ema = Ema::new(config.ema_decay, config.ema_warmup, model.averages.clone());
        let state = TrainingState {
            step: 0,
            batches: 0,
            optimizer_steps: 0,
            ema_updates: 0,
            skipped_in_a_row: 0,
            skipped: 0,
            seed: config.seed,
            batch_size: config.batch_size,
        };
        let on_device = on_device(&model, &adam, &ema)?;
        let (records, begun) = (Vec::new(), Vec::new());
        Ok(Self { config, total_steps, diffusion, device, model, adam, ema, on_device, records, begun, state })
    }

    /// One step on the next `gradient_accumulation_steps` batches of `batches`, each [batch, channel, height, width] in
    /// [−1, 1].
    ///
    /// A loss or gradient that is not finite leaves weights, moments and averages as they are and is reported as skipped.
    ///
    /// `stop` is asked before each further batch, and where `batches` ends: if it says yes, the step has not taken place and
    /// None is returned. `batches` is then beyond the trainer's position.
    ///
    /// # Errors
    /// When the data fails or ends, or a tensor operation does.
    pub fn step<E>(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Tensor, E>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<StepReport>, TrainerError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        Ok(if self.begin(batches, stop)? { self.reports()?.pop() } else { None })
    }

    /// That many steps, which on a GPU run into each other, and their reports; fewer where `stop` said so.
    ///
    /// # Errors
    /// Those of [`Trainer::step`].
    pub fn steps<E>(
        &mut self,
        count: u64,
        batches: &mut dyn Iterator<Item = Result<Tensor, E>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<StepReport>, TrainerError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut reports = Vec::new();
        for _ in 0..count {
            let begun = self.begin(batches, stop)?;
            if !begun || !self.runs_ahead() || self.begun() == Self::MOST_BEGUN {
                reports.extend(self.reports()?);
            }
            if !begun {
                return Ok(reports);
            }
        }
        reports.extend(self.reports()?);
        Ok(reports)
    }

    /// [`Trainer::step`] but for its report, which [`Trainer::reports`] gives. On a GPU it has perhaps only been asked for; up to
    /// [`Trainer::MOST_BEGUN`] steps may be, and then nothing else may be asked of the trainer before their reports.
    pub(crate) fn begin<E>(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<Tensor, E>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<bool, TrainerError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let rates = self.config.learning_rate_schedule;
        let share = rates.share(self.state.step, self.config.warmup_steps, self.total_steps);
        let learning_rate = self.config.learning_rate * share;
        let start = Instant::now();
        let parts = self.config.gradient_accumulation_steps;
        let Some(Accumulated { loss, gradients, waited }) = self.accumulate(parts, batches, stop)? else {
            return Ok(false);
        };
        let Some(loss) = loss else { return Err(candle_core::Error::msg("a step of no batch").into()) };
        self.state.batches += parts as u64;
        match &mut self.on_device {
            Some(update) => update.step(
                &in_order(&self.model.parameters, gradients),
                &loss,
                &UpdateStep { learning_rate, ..update_step(&self.config) },
            )?,
            None => self.update(&loss, &gradients, learning_rate)?,
        }
        self.state.step += 1;
        self.begun.push(Begun { step: self.state.step, learning_rate, start, waited });
        Ok(true)
    }

    /// Whether the device has room for a step of `parts` batches of that shape, [batch, channel, height, width]: goes through as
    /// many as are in memory together and changes nothing.
    ///
    /// # Errors
    /// Where it has none, that of the device.
    pub fn try_step(&self, parts: usize, shape: [usize; 4]) -> Result<(), TrainerError> {
        let mut grey = std::iter::repeat_with(|| Tensor::zeros(&shape, DType::F32, &Device::Cpu));
        // The gradients of one batch beside the sum of those before it: a third batch needs no more than the second.
        let passes = self.accumulate(parts.min(2), &mut grey, &|| false)?;
        if let Some(loss) = passes.and_then(|passes| passes.loss) {
            // A device may fail later than it is asked.
            loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        }
        Ok(())
    }

    /// Clipping, Adam and the average, at once.
    fn update(
        &mut self,
        loss: &Tensor,
        gradients: &BTreeMap<String, Gradient>,
        learning_rate: f64,
    ) -> Result<(), TrainerError> {
        let loss = loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        let gradient_norm = global_norm(gradients)?;
        let skipped = !(loss.is_finite() && gradient_norm.is_finite());
        if !skipped {
            let scale = clip_scale(gradient_norm, self.config.max_norm());
            self.adam.update(&self.model.parameters, gradients, learning_rate, scale)?;
            self.ema.update(&self.model.parameters)?;
        }
        self.records.push(UpdateRecord { loss, gradient_norm, skipped });
        Ok(())
    }

    /// Whether steps run ahead of their reports.
    pub(crate) fn runs_ahead(&self) -> bool {
        self.on_device.is_some()
    }

    /// Steps that may have begun before their reports are asked for.
    pub(crate) const MOST_BEGUN: usize = DeviceUpdate::MOST_PENDING;

    /// Steps that have begun since the last reports.
    pub(crate) fn begun(&self) -> usize {
        self.begun.len()
    }

    /// The reports of the steps that have begun, in their order. Waits for them to be done.
    pub(crate) fn reports(&mut self) -> Result<Vec<StepReport>, TrainerError> {
        let records = match &mut self.on_device {
            Some(update) => update.records()?,
            None => std::mem::take(&mut self.records),
        };
        let begun = std::mem::take(&mut self.begun);
        // Of steps that ran into each other only the mean time is known.
        let seconds =
            begun.first().map_or(0.0, |first| first.start.elapsed().as_secs_f64()) / begun.len().max(1) as f64;
        let seconds = seconds.max(1e-9);
        let images = self.config.batch_size * self.config.gradient_accumulation_steps;
        let report = |(begun, record): (Begun, UpdateRecord)| {
            let UpdateRecord { loss, gradient_norm, skipped } = record;
            if skipped {
                self.state.skipped += 1;
                self.state.skipped_in_a_row += 1;
            } else {
                self.state.skipped_in_a_row = 0;
                if self.on_device.is_some() {
                    self.adam.count();
                    self.ema.count();
                }
            }
            StepReport {
                step: begun.step,
                loss,
                learning_rate: begun.learning_rate,
                gradient_norm,
                skipped,
                skipped_in_a_row: self.state.skipped_in_a_row,
                images_per_sec: images as f64 / seconds,
                data_wait_share: (begun.waited.as_secs_f64() / seconds).min(1.0),
            }
        };
        Ok(begun.into_iter().zip(records).map(report).collect())
    }

    /// Goes through a step's batches, `parts` of them; None where `stop` said so before the last of them was done.
    fn accumulate<E>(
        &self,
        parts: usize,
        batches: &mut dyn Iterator<Item = Result<Tensor, E>>,
        stop: &dyn Fn() -> bool,
    ) -> Result<Option<Accumulated>, TrainerError>
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut sum = Accumulated { loss: None, gradients: BTreeMap::new(), waited: Duration::ZERO };
        for part in 0..parts {
            if part > 0 && stop() {
                return Ok(None);
            }
            let index = self.state.batches + part as u64;
            let failed = |source| TrainerError::Data { batch: index, source };
            let asked = Instant::now();
            let x_0 = match batches.next() {
                Some(batch) => batch.map_err(|error| failed(error.into()))?.to_device(&self.device)?,
                None if stop() => return Ok(None),
                None => return Err(failed("it ended".into())),
            };
            sum.waited += asked.elapsed();
            let (loss, mut of_batch) = self.loss_and_gradients(&x_0, index, 1.0 / parts as f64)?;
            let loss = (loss / parts as f64)?;
            sum.loss = Some(match sum.loss {
                Some(sum) => (sum + loss)?,
                None => loss,
            });
            for (name, parameter) in &self.model.parameters {
                let Some(gradient) = of_batch.take(parameter.as_tensor()) else { continue };
                match sum.gradients.get_mut(name) {
                    Some(sum) => sum.add(&gradient)?,
                    None => drop(sum.gradients.insert(name.clone(), gradient)),
                }
            }
        }
        Ok(Some(sum))
    }

    /// L_simple of the batch at position `index` (Ho et al. 2020, eq. 14), in what the network predicts, and its gradient times
    /// `part`: t uniform over the steps, ε normal, each from the stream of that position.
    fn loss_and_gradients(
        &self,
        x_0: &Tensor,
        index: u64,
        part: f64,
    ) -> Result<(Tensor, ParameterGradients), TrainerError> {
        let stream = |purpose| Stream::new(self.state.seed, purpose, index);
        let steps = self.diffusion.schedule().len() as u64;
        let mut time_steps = stream(Purpose::TimeSteps);
        let t: Vec<usize> = (0..x_0.dim(0)?).map(|_| time_steps.below(steps) as usize).collect();
        let eps = stream(Purpose::TrainingNoise).normal(x_0.shape(), &self.device)?.to_dtype(x_0.dtype())?;
        let x_t = self.diffusion.q_sample(x_0, &t, &eps)?.detach();
        let target = self.diffusion.target(x_0, &eps, &t)?;
        let t = self.diffusion.network_time(&t)?;
        let prediction = self.model.denoiser.predict_train(&x_t, &t, &mut stream(Purpose::Dropout))?;
        let (loss, by_output) = mean_squared_error_and_gradient(&prediction.output(), &target)?;
        Ok((loss, prediction.backward(&(by_output * part)?)?))
    }

    /// The run's configuration.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The numbers that the next step depends on.
    pub fn state(&self) -> &TrainingState {
        &self.state
    }

    /// Where the tensors are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The diffusion process that is trained.
    pub fn diffusion(&self) -> &GaussianDiffusion {
        &self.diffusion
    }

    /// The network over the averaged weights.
    pub fn averaged_denoiser(&self) -> &dyn Denoiser {
        self.model.averaged_denoiser.as_ref()
    }

    /// Everything that the next step depends on. Tensors share their memory with the trainer: save them before the next
    /// step.
    pub fn snapshot(&self) -> Snapshot {
        let plain = |vars: &BTreeMap<String, Var>, prefix: &str| -> BTreeMap<String, Tensor> {
            vars.iter().map(|(name, var)| (format!("{prefix}{name}"), var.as_tensor().clone())).collect()
        };
        let mut training = plain(&self.model.parameters, "parameter.");
        training.extend(self.adam.state());
        let state =
            TrainingState { optimizer_steps: self.adam.steps(), ema_updates: self.ema.updates(), ..self.state.clone() };
        Snapshot { averages: plain(self.ema.averages(), ""), training, state }
    }

    /// Goes on from a snapshot of the same model.
    ///
    /// # Errors
    /// When the seed or the batch size is another, or a tensor is missing or mis-shaped.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), TrainerError> {
        let saved = &snapshot.state;
        for (what, saved, own) in [
            ("train.seed", saved.seed, self.state.seed),
            ("train.batch_size", saved.batch_size as u64, self.state.batch_size as u64),
        ] {
            if saved != own {
                return Err(TrainerError::State(format!("{what} was {saved} and is now {own}")));
            }
        }
        restore_vars(&self.model.parameters, "parameter.", &snapshot.training)?;
        restore_vars(self.ema.averages(), "", &snapshot.averages)?;
        self.adam.restore(saved.optimizer_steps, &snapshot.training)?;
        self.ema.restore(saved.ema_updates);
        if let Some(update) = &mut self.on_device {
            update.restore(saved.optimizer_steps, saved.ema_updates)?;
        }
        self.state = saved.clone();
        Ok(())
    }
}

/// The updates on a device, where there are kernels for them.
fn on_device(model: &TrainableModel, adam: &Adam, ema: &Ema) -> Result<Option<DeviceUpdate>, TrainerError> {
    if !model.parameters.values().all(|parameter| DeviceUpdate::takes(parameter)) {
        return Ok(None);
    }
    let updated = |(name, parameter): (&String, &Var)| {
        let (moment1, moment2) = adam.moments(name)?;
        let average = ema.averages().get(name)?.clone();
        Some(Updated { parameter: parameter.clone(), moment1: moment1.clone(), moment2: moment2.clone(), average })
    };
    let all: Option<Vec<Updated>> = model.parameters.iter().map(updated).collect();
    let all = all.ok_or_else(|| TrainerError::State("a parameter has no average".into()))?;
    Ok(if all.is_empty() { None } else { Some(DeviceUpdate::new(all)?) })
}

/// The numbers of an update, but for its learning rate.
fn update_step(config: &TrainConfig) -> UpdateStep {
    let adam = config.adam();
    UpdateStep {
        learning_rate: 0.0,
        beta1: adam.beta1,
        beta2: adam.beta2,
        epsilon: adam.epsilon,
        coupled_weight_decay: adam.coupled_weight_decay(),
        decoupled_weight_decay: adam.decoupled_weight_decay(),
        max_norm: config.max_norm(),
        ema_decay: config.ema_decay,
        ema_warmup: config.ema_warmup,
    }
}

/// The gradient of each parameter, in their order.
fn in_order(parameters: &BTreeMap<String, Var>, mut gradients: BTreeMap<String, Gradient>) -> Vec<Option<Gradient>> {
    parameters.keys().map(|name| gradients.remove(name)).collect()
}

fn restore_vars(
    vars: &BTreeMap<String, Var>,
    prefix: &str,
    saved: &BTreeMap<String, Tensor>,
) -> Result<(), TrainerError> {
    for (name, var) in vars {
        let key = format!("{prefix}{name}");
        let tensor = saved.get(&key).ok_or_else(|| TrainerError::State(format!("{key} is missing")))?;
        if tensor.dims() != var.dims() {
            let message = format!("{key}: expected shape {:?}, found {:?}", var.dims(), tensor.dims());
            return Err(TrainerError::State(message));
        }
        var.set(&tensor.to_device(var.device())?)?;
    }
    Ok(())
}
