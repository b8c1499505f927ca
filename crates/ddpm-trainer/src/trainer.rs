//! One training step after the other, and the state that the next one depends on.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use candle_core::{DType, Device, Tensor, TensorId};
use ddpm_checkpoint::{PARAMETER_PREFIX, WeightAverage};
use ddpm_diffusion::{Denoiser, GaussianDiffusion, LossAndGradient, NoisyBatch, Objective, WeightedSquaredError};
use ddpm_distributed::Communicator;
use ddpm_ema::initial_weight_share;
use ddpm_ops::{Gradient, Recorded, StepGraph, upload};
use ddpm_rng::{Purpose, Stream};
use sha2::{Digest, Sha256};
use tracing::{trace, warn};

use crate::batch_gradients::BatchGradients;
use crate::batch_noise::{BatchNoise, NoiseAhead, NoiseRequest};
use crate::captured_step::{CapturedStep, StepInputs};
use crate::cpu_update::CpuUpdate;
use crate::error::TrainerError;
use crate::further_averages::FurtherAverages;
use crate::gpu_update::GpuUpdate;
use crate::gradient_buckets::{BucketLayout, SummedGradients, check_same_bytes};
use crate::job::Job;
use crate::named_variables::{named_tensors, restore_variables};
use crate::pairwise_sum::PairwiseSum;
use crate::parameter_update::ParameterUpdate;
use crate::step_report::{StepInFlight, StepReport};
use crate::train_config::TrainConfig;
use crate::trainable_model::{ClassLabels, TrainableModel};
use crate::training_batch::{TrainingBatch, network_labels};
use crate::training_state::{Snapshot, TrainingState};

/// Whether [`Trainer::step`] took a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutcome {
    /// The step was taken; [`Trainer::reports`] returns its result.
    Taken,
    /// The caller stopped the run before the last batch of the step. Weights and state are as before it.
    Interrupted,
}

/// Trains one model: algorithm 1 of Ho et al. 2020, with gradient accumulation, gradient clipping, Adam and EMA.
#[derive(Debug)]
pub struct Trainer {
    config: TrainConfig,
    total_steps: u64,
    diffusion: GaussianDiffusion,
    objective: Box<dyn Objective>,
    device: Device,
    model: TrainableModel,
    /// Clipping, Adam and EMA.
    update: Box<dyn ParameterUpdate>,
    further_averages: FurtherAverages,
    /// Replays steps, if `train.cuda_graph` is set.
    captured: Option<CapturedStep>,
    /// The steps whose results have not been requested from `update`.
    in_flight: Vec<StepInFlight>,
    state: TrainingState,
    noise: NoiseAhead,
    job: Job,
    /// The names of the parameters.
    names: HashMap<TensorId, String>,
}

/// The forward pass of a batch, with what its backward pass needs.
struct ForwardPass {
    /// A scalar, divided by the number of batches of the step.
    loss: Tensor,
    prediction: Recorded,
    /// The gradient of `loss` with respect to the output of the network.
    gradient: Tensor,
}

impl Trainer {
    /// A run of `total_steps` steps that starts from the present weights of `model` and minimizes L_simple.
    ///
    /// `total_steps` is the length of the learning-rate schedule; tensors are on `device`.
    ///
    /// # Errors
    /// When the configuration is invalid, a parameter has no EMA, or the device has too little memory for the moments.
    pub fn new(
        config: TrainConfig,
        total_steps: u64,
        diffusion: GaussianDiffusion,
        model: TrainableModel,
        device: Device,
    ) -> Result<Self, TrainerError> {
        config.validate()?;
        model.validate()?;
        let (parameters, ema_parameters) = (&model.parameters, &model.ema_parameters);
        let update: Box<dyn ParameterUpdate> = if GpuUpdate::supports(parameters) {
            let update = GpuUpdate::new(config.update(), parameters, ema_parameters)?;
            Box::new(update.with_cache(model.training_cache.clone()))
        } else {
            Box::new(CpuUpdate::new(config.update(), parameters, ema_parameters)?)
        };
        let further_averages = FurtherAverages::new(&config, parameters)?;
        let objective = Box::new(WeightedSquaredError::l_simple());
        let state = TrainingState::new(config.seed, config.batch_size);
        let captured = config.cuda_graph.then(|| captured_step(&device, &model)).flatten();
        let (in_flight, noise) = (Vec::new(), NoiseAhead::new(&device));
        let names = parameters.iter().map(|(name, parameter)| (parameter.id(), name.clone())).collect();
        Ok(Self {
            config,
            total_steps,
            diffusion,
            objective,
            device,
            model,
            update,
            further_averages,
            captured,
            in_flight,
            state,
            noise,
            job: Job::default(),
            names,
        })
    }

    /// The same run as one of the ranks of `communicator`, each of which computes an equal share of the batches of a
    /// step: rank r of W takes the `gradient_accumulation_steps` / W consecutive batches from r
    /// `gradient_accumulation_steps` / W on, and [`Trainer::step`] is given only those. All ranks have the same weights
    /// after each step, and if both numbers are powers of two, those of a single process with as many threads, bit for
    /// bit.
    ///
    /// # Errors
    /// When the number of ranks does not divide `gradient_accumulation_steps`.
    pub fn with_communicator(mut self, communicator: Arc<dyn Communicator>) -> Result<Self, TrainerError> {
        self.job = Job::new(communicator.clone(), self.config.gradient_accumulation_steps)?;
        if !self.job.is_alone() {
            self.update.share_with(communicator);
        }
        Ok(self)
    }

    /// The same run, minimizing another objective.
    pub fn with_objective(self, objective: impl Objective + 'static) -> Self {
        Self { objective: Box::new(objective), ..self }
    }

    /// The same run with another implementation of clipping, optimizer and EMA. It updates the variables of the model.
    ///
    /// # Panics
    /// When a step has been taken or a snapshot restored: the new implementation would not have its moments.
    pub fn with_update(self, update: impl ParameterUpdate + 'static) -> Self {
        assert!(self.state.step == 0, "with_update after step {}: call it on a new trainer", self.state.step);
        Self { update: Box::new(update), ..self }
    }

    /// Takes one optimizer step on the next `gradient_accumulation_steps` batches of `batches`, or with
    /// [`Trainer::with_communicator`] on this rank's share of them: tensors [batch, channel, height, width] in
    /// [−1, 1], or a [`TrainingBatch`] with the classes of its images.
    ///
    /// A step whose loss or gradient is not finite leaves weights, moments and EMA unchanged, and is reported as
    /// skipped. On a GPU the step may still be running when the method returns; [`Trainer::reports`] waits for its
    /// result.
    ///
    /// `should_stop` is called before each further batch, and when `batches` ends. If it returns true, no step is
    /// taken, although batches may have been read. One of several ranks takes the step nevertheless: see
    /// [`Trainer::stops_after_step`].
    ///
    /// # Errors
    /// When the data ends or fails, a tensor operation fails, or more than [`Trainer::max_steps_in_flight`] steps
    /// would be in flight on a GPU.
    pub fn step<B, E>(
        &mut self,
        batches: &mut dyn Iterator<Item = Result<B, E>>,
        should_stop: &dyn Fn() -> bool,
    ) -> Result<StepOutcome, TrainerError>
    where
        B: Into<TrainingBatch>,
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (start, mut data_wait) = (Instant::now(), Duration::ZERO);
        let accumulation_steps = self.config.gradient_accumulation_steps;

        let learning_rate = self.config.learning_rate_at(self.state.step, self.total_steps);

        // A rank that left out a step would keep the others waiting.
        let alone = self.job.is_alone();
        let interrupted = || alone && should_stop();

        // Forward, loss, backward for every batch of the step, or for this rank's share of them; the gradients are
        // those of the mean loss. The last backward pass completes the sums.
        let mut earlier = PairwiseSum::default();
        let mut summed: Option<BatchGradients> = None;
        let (mut replayed, mut communication_wait) = (false, Duration::ZERO);
        let share = self.job.share(accumulation_steps);
        let (first, end) = (self.state.batches + share.start, self.state.batches + share.end);
        for position in first..end {
            if position > first && interrupted() {
                return Ok(StepOutcome::Interrupted);
            }
            let waiting = Instant::now();
            let Some(batch) = next_batch(batches, position, &interrupted)? else { return Ok(StepOutcome::Interrupted) };
            let x_0 = upload(&batch.images, &self.device)?;
            data_wait += waiting.elapsed();
            let labels = self.network_labels(&batch, position)?;
            let noise = self.noise.take(self.noise_request(&x_0, position)?)?;
            if labels.is_none() && self.replay(&x_0, &noise, position, learning_rate)? {
                replayed = true;
                break;
            }
            if self.job.needs_layout() {
                self.plan_buckets(&x_0, labels.as_ref(), position)?;
            }
            let pass = self.forward(&x_0, &noise, labels.as_ref(), position, accumulation_steps)?;
            if position + 1 < end {
                earlier.push(self.backward(pass)?)?;
            } else {
                let last = self.complete_sums(pass, std::mem::take(&mut earlier), should_stop())?;
                (summed, communication_wait) = (Some(last.0), last.1);
            }
        }

        // Clip the gradients, take the optimizer step, update the EMA; `CpuUpdate::step` shows the three lines. All of
        // them are skipped if the loss or the gradient is not finite. A replayed step contains them.
        if !replayed {
            let BatchGradients { loss, gradients } = summed.expect("validate() requires at least one batch per step");
            self.update.step(&loss, gradients, learning_rate)?;
        }
        self.further_averages.update(&self.model.parameters)?;

        self.state.batches += accumulation_steps as u64;
        self.state.step += 1;
        let step = self.state.step;
        self.in_flight.push(StepInFlight { step, learning_rate, start, data_wait, communication_wait });
        Ok(StepOutcome::Taken)
    }

    /// The request of the timesteps and the noise of the images `x_0`, the batch at `position` in the data.
    fn noise_request(&self, x_0: &Tensor, position: u64) -> Result<NoiseRequest, TrainerError> {
        let (seed, schedule_len) = (self.state.seed, self.diffusion.schedule().len());
        Ok(NoiseRequest { seed, position, shape: x_0.dims4()?, schedule_len })
    }

    /// The labels that the network receives for `batch`, which is at `position` in the data.
    fn network_labels(&self, batch: &TrainingBatch, position: u64) -> Result<Option<Tensor>, TrainerError> {
        let (images, dropout) = (batch.images.dim(0)?, self.config.class_dropout);
        network_labels(batch.labels.as_deref(), images, self.model.classes, dropout, self.state.seed, position)
    }

    /// The forward pass and the loss of the batch at `position` in the data, one of `accumulation_steps` batches of the
    /// step: algorithm 1 of Ho et al. 2020, lines 2 to 5. `noise` holds its timesteps and ε, `labels` the classes of
    /// its images.
    fn forward(
        &self,
        x_0: &Tensor,
        noise: &BatchNoise,
        labels: Option<&Tensor>,
        position: u64,
        accumulation_steps: usize,
    ) -> Result<ForwardPass, TrainerError> {
        // Noisy images: x_t = √ᾱ_t x_0 + √(1 − ᾱ_t) ε.
        let t = &noise.timesteps;
        let (eps, x_t) = self.noisy_images(x_0, noise)?;

        // Forward.
        let network_timesteps = self.diffusion.network_timesteps(t)?;
        let mut dropout = Stream::new(self.state.seed, Purpose::Dropout, position);
        let denoiser = &self.model.denoiser;
        let prediction = match labels {
            Some(labels) => denoiser.predict_train_for_classes(&x_t, &network_timesteps, labels, &mut dropout)?,
            None => denoiser.predict_train(&x_t, &network_timesteps, &mut dropout)?,
        };

        // Loss, and its gradient with respect to the output of the network.
        let batch = NoisyBatch { x_0, t, eps: &eps, x_t: &x_t };
        let LossAndGradient { loss, gradient } =
            self.objective.loss_and_gradient(&self.diffusion, &batch, &prediction.output())?;
        let gradient = (gradient * (1.0 / accumulation_steps as f64))?;
        Ok(ForwardPass { loss: (loss / accumulation_steps as f64)?, prediction, gradient })
    }

    /// The gradients of all parameters.
    fn backward(&self, pass: ForwardPass) -> Result<BatchGradients, TrainerError> {
        let by_parameter = pass.prediction.backward(&pass.gradient)?;
        Ok(BatchGradients { loss: pass.loss, gradients: self.model.gradients(by_parameter) })
    }

    /// The backward pass of the last batch of a step, during which each gradient is added to those of the `earlier`
    /// batches and, with other ranks, sent to them as soon as it is complete. Returns the sums over all batches of the
    /// step and the time that was spent waiting for other ranks. `asked_to_stop` is told to them.
    fn complete_sums(
        &mut self,
        last: ForwardPass,
        mut earlier: PairwiseSum,
        asked_to_stop: bool,
    ) -> Result<(BatchGradients, Duration), TrainerError> {
        let mut buckets = self.job.buckets();
        let mut gradients = BTreeMap::new();
        let mut add = |name: &str, gradient: Gradient| match &mut buckets {
            Some(buckets) => buckets.add(name, gradient),
            None => {
                gradients.insert(name.to_owned(), gradient);
                Ok(())
            }
        };
        let ForwardPass { loss, prediction, gradient } = last;
        prediction.backward_with(&gradient, &mut |id, gradient| match self.names.get(&id) {
            Some(name) => Ok(add(name, earlier.add_last(name, gradient)?)?),
            None => Ok(()),
        })?;
        trace!("the last backward pass of the step has ended");
        let loss = earlier.add_last_loss(loss)?;
        earlier.into_rest()?.try_for_each(|(name, gradient)| add(&name, gradient))?;
        let Some(buckets) = buckets else { return Ok((BatchGradients { loss, gradients }, Duration::ZERO)) };
        let SummedGradients { gradients, loss, stops, waited } = buckets.finish(&loss, asked_to_stop)?;
        self.job.set_stops(stops)?;
        Ok((BatchGradients { loss, gradients }, waited))
    }

    /// Determines the buckets in which ranks sum their gradients, from the order in which a backward pass of one image
    /// like those of `x_0` completes them.
    fn plan_buckets(&mut self, x_0: &Tensor, labels: Option<&Tensor>, position: u64) -> Result<(), TrainerError> {
        let x_0 = x_0.narrow(0, 0, 1)?.zeros_like()?;
        let labels = labels.map(|labels| labels.narrow(0, 0, 1)).transpose()?;
        let noise = self.noise_request(&x_0, position)?.draw()?;
        let ForwardPass { prediction, gradient, .. } = self.forward(&x_0, &noise, labels.as_ref(), position, 1)?;
        let mut order = Vec::new();
        prediction.backward_with(&gradient, &mut |id, _| {
            order.extend(self.names.get(&id).cloned());
            Ok(())
        })?;
        let layout = BucketLayout::new(&order, &self.model.parameters, self.config.bucket_bytes());
        self.job.set_layout(layout)
    }

    /// Whether the run stops after the step just taken. Of several ranks all stop if one was asked to before its last
    /// backward pass ended; `asked_to_stop` is whether this process was asked to by now.
    pub fn stops_after_step(&self, asked_to_stop: bool) -> bool {
        self.job.stops(asked_to_stop)
    }

    /// Checks that all ranks have the same weights, as they must have after each step.
    ///
    /// # Errors
    /// [`TrainerError::Ranks`] on every rank if one has others, and when a rank does not answer.
    pub fn check_same_weights(&self) -> Result<(), TrainerError> {
        if self.job.is_alone() {
            return Ok(());
        }
        let mut hash = Sha256::new();
        for parameter in self.model.parameters.values() {
            let values = parameter.to_device(&Device::Cpu)?.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
            values.iter().for_each(|value| hash.update(value.to_le_bytes()));
        }
        let what = format!("the weights after step {}", self.state.step);
        check_same_bytes(self.communicator().as_ref(), hash.finalize().to_vec(), &what)
    }

    /// The ranks of the run.
    pub fn communicator(&self) -> &Arc<dyn Communicator> {
        self.job.communicator()
    }

    /// ε and x_t on the device of the images `x_0`.
    fn noisy_images(&self, x_0: &Tensor, noise: &BatchNoise) -> Result<(Tensor, Tensor), TrainerError> {
        let eps = upload(&noise.eps, &self.device)?.to_dtype(x_0.dtype())?;
        let x_t = self.diffusion.q_sample(x_0, &noise.timesteps, &eps)?.detach();
        Ok((eps, x_t))
    }

    /// Takes the whole step of the batch at `position` with [`CapturedStep`]. Returns false if the run or its objective
    /// does not use it.
    fn replay(
        &mut self,
        x_0: &Tensor,
        noise: &BatchNoise,
        position: u64,
        learning_rate: f64,
    ) -> Result<bool, TrainerError> {
        if self.captured.is_none() {
            return Ok(false);
        }
        let t = &noise.timesteps;
        let (eps, x_t) = self.noisy_images(x_0, noise)?;
        let batch = NoisyBatch { x_0, t, eps: &eps, x_t: &x_t };
        let target = self.objective.squared_error_target(&self.diffusion, &batch)?;
        let (Some(target), Some(captured), Some(update)) = (target, &mut self.captured, self.update.as_captured())
        else {
            warn!("train.cuda_graph has no effect: this objective or update cannot be captured");
            self.captured = None;
            return Ok(false);
        };
        let timesteps = upload(&self.diffusion.network_timesteps(t)?, &self.device)?;
        let inputs = StepInputs { x_t, timesteps, target };
        let dropout = Stream::new(self.state.seed, Purpose::Dropout, position);
        captured.step(&self.model, update, &inputs, learning_rate, &dropout)?;
        Ok(true)
    }

    /// Whether steps are replays of a captured one.
    pub fn replays_steps(&self) -> bool {
        self.captured.as_ref().is_some_and(CapturedStep::is_captured)
    }

    /// The results of the steps since the last call, in their order. Waits until they are complete.
    ///
    /// # Errors
    /// When the device fails.
    pub fn reports(&mut self) -> Result<Vec<StepReport>, TrainerError> {
        let records = self.update.take_records()?;
        let steps = std::mem::take(&mut self.in_flight);
        if records.len() != steps.len() {
            let message = format!("expected the results of {} steps, found {}", steps.len(), records.len());
            return Err(candle_core::Error::msg(message).into());
        }
        let secs = StepInFlight::mean_secs(&steps);
        let images = self.config.batch_size * self.config.gradient_accumulation_steps;
        let mut reports = Vec::with_capacity(steps.len());
        for (step, record) in steps.into_iter().zip(records) {
            self.state.count_result(record.skipped);
            reports.push(step.report(record, self.state.skipped_in_a_row, images, secs));
        }
        Ok(reports)
    }

    /// Number of steps after which [`Trainer::reports`] is to be called: 1 on the CPU, where a step is complete when
    /// it returns, and more on a GPU, which is busy all the time only if the CPU prepares the next steps meanwhile.
    pub fn max_steps_in_flight(&self) -> usize {
        self.update.max_steps_in_flight()
    }

    /// Whether another step may be taken before [`Trainer::reports`] is called.
    pub(crate) fn can_run_ahead(&self) -> bool {
        self.in_flight.len() < self.max_steps_in_flight()
    }

    /// Tries whether the device has enough memory for a step of `accumulation_steps` batches of the given shape,
    /// [batch, channel, height, width]. Nothing is updated.
    ///
    /// # Errors
    /// The device's own error if it has too little memory, or any other error of the passes.
    pub fn try_forward_backward(&self, accumulation_steps: usize, shape: [usize; 4]) -> Result<(), TrainerError> {
        let x_0 = Tensor::zeros(&shape, DType::F32, &self.device)?;
        let position = self.state.batches;
        let noise = self.noise_request(&x_0, position)?.draw()?;
        let labels = self.model.classes.map(|_| Tensor::zeros(shape[0], DType::U32, &Device::Cpu)).transpose()?;
        let pass = || self.backward(self.forward(&x_0, &noise, labels.as_ref(), position, accumulation_steps)?);
        // With accumulation the gradients of a batch are in memory beside the sums of earlier ones.
        let partial_sums = accumulation_steps.max(1).ilog2();
        let held = (0..partial_sums).map(|_| pass()).collect::<Result<Vec<_>, _>>()?;
        let last = pass()?;
        // A GPU may report an error later than the operation that caused it; reading a value back waits for all of
        // them.
        last.loss.to_dtype(DType::F64)?.to_scalar::<f64>()?;
        drop(held);
        Ok(())
    }

    /// The configuration of the run.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Number of steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.total_steps
    }

    /// The counters of the run. Those of the optimizer, the EMA and the skipped steps include only steps that were
    /// reported.
    pub fn state(&self) -> &TrainingState {
        &self.state
    }

    /// The device of the tensors.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The diffusion process that the network is trained for.
    pub fn diffusion(&self) -> &GaussianDiffusion {
        &self.diffusion
    }

    /// What the training minimizes.
    pub fn objective(&self) -> &dyn Objective {
        self.objective.as_ref()
    }

    /// The network over the EMA of the weights.
    pub fn ema_denoiser(&self) -> &dyn Denoiser {
        self.model.ema_denoiser.as_ref()
    }

    /// The network over the trained weights, if the model has one for previews.
    pub fn trained_denoiser(&self) -> Option<&dyn Denoiser> {
        self.model.trained_denoiser.as_deref()
    }

    /// Whether the EMA is still behind the weights because the run has just begun: the steps so far are fewer than
    /// about five times the length of the average, so that without warm-up the initial weights would be more than 1 %
    /// of it.
    pub fn ema_is_young(&self) -> bool {
        initial_weight_share(self.state.step, self.config.ema_decay.first(), false) > 0.01
    }

    /// The power-function averages for post-hoc EMA; empty if the configuration asks for none. The tensors share their
    /// memory with the trainer: save them before the next step.
    pub fn power_averages(&self) -> Vec<WeightAverage> {
        self.further_averages.power_averages()
    }

    /// The class labels that the network takes; `None` if it is not conditioned on classes.
    pub fn classes(&self) -> Option<ClassLabels> {
        self.model.classes
    }

    /// Everything that the next step depends on. The tensors share their memory with the trainer: save them before the
    /// next step.
    ///
    /// # Panics
    /// When the results of steps have not been taken with [`Trainer::reports`]: the counters would not fit the tensors.
    pub fn snapshot(&self) -> Snapshot {
        assert!(self.in_flight.is_empty(), "a snapshot while steps are in flight: call reports() first");
        let ema_parameters = named_tensors(&self.model.ema_parameters, "").collect();
        let parameters = named_tensors(&self.model.parameters, PARAMETER_PREFIX);
        Snapshot {
            ema_parameters,
            training: parameters.chain(self.update.moments()).chain(self.further_averages.tensors()).collect(),
            state: self.state.clone(),
        }
    }

    /// Continues from a snapshot of the same model. Steps in flight are discarded.
    ///
    /// # Errors
    /// [`TrainerError::State`] when the seed or the batch size differs, or a tensor is missing or has another shape.
    pub fn restore(&mut self, snapshot: &Snapshot) -> Result<(), TrainerError> {
        let Snapshot { ema_parameters, training, state } = snapshot;
        self.state.check_same_run(state)?;
        restore_variables(&self.model.parameters, PARAMETER_PREFIX, training)?;
        restore_variables(&self.model.ema_parameters, "", ema_parameters)?;
        self.update.restore(training, state.optimizer_steps, state.ema_updates)?;
        self.further_averages.restore(training, ema_parameters, state.step)?;
        if let Some(captured) = &mut self.captured {
            captured.reset();
        }
        self.in_flight.clear();
        self.state = state.clone();
        Ok(())
    }

    /// Continues from the state of rank 0, on every rank. All ranks call this function before their first step.
    ///
    /// # Errors
    /// [`TrainerError::Ranks`] when the ranks have different networks or configurations, and when a rank does not
    /// answer.
    pub fn restore_from_rank_0(&mut self) -> Result<(), TrainerError> {
        if self.job.is_alone() {
            return Ok(());
        }
        let snapshot = Snapshot::of_rank_0(self.snapshot(), self.communicator().as_ref())?;
        if self.communicator().rank() == 0 { Ok(()) } else { self.restore(&snapshot) }
    }

    /// Sets what identifies the training data from here on: see [`TrainingState::data`].
    pub fn set_data(&mut self, data: Option<serde_json::Value>) {
        self.state.data = data;
    }
}

/// The steps of a run with `train.cuda_graph`; None on a device that cannot capture steps.
fn captured_step(device: &Device, model: &TrainableModel) -> Option<CapturedStep> {
    if !StepGraph::supports(device) {
        warn!("train.cuda_graph has no effect: it needs an NVIDIA GPU");
        return None;
    }
    if model.classes.is_some() {
        // The rows of the class embedding are chosen on the CPU, and a captured step would repeat those of its batch.
        warn!("train.cuda_graph has no effect: the network is conditioned on classes");
        return None;
    }
    Some(CapturedStep::new(device, &model.training_cache))
}

/// The next batch; None if there is none because the run was stopped.
fn next_batch<B, E>(
    batches: &mut dyn Iterator<Item = Result<B, E>>,
    position: u64,
    should_stop: &dyn Fn() -> bool,
) -> Result<Option<TrainingBatch>, TrainerError>
where
    B: Into<TrainingBatch>,
    E: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    let failed = |source| TrainerError::Data { batch: position, source };
    match batches.next() {
        Some(batch) => batch.map(|batch| Some(batch.into())).map_err(|error| failed(error.into())),
        None if should_stop() => Ok(None),
        None => Err(failed("the data ended".into())),
    }
}
