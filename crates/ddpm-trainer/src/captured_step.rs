//! A training step that is captured as a CUDA graph and replayed.

use candle_core::{Device, Result as CandleResult, Tensor};
use ddpm_diffusion::{LossAndGradient, SquaredErrorTarget};
use ddpm_ops::{StepGraph, TrainingCache};
use ddpm_rng::Stream;
use tracing::{info, warn};

use crate::error::TrainerError;
use crate::parameter_update::CapturedUpdate;
use crate::trainable_model::TrainableModel;

/// Number of steps that are computed before one is captured. The first compiles the kernels and chooses the algorithms
/// of convolutions; the second runs as the captured one will.
const WARM_UP_STEPS: u32 = 2;

/// What a step reads from the device: everything that forward pass, loss and backward pass depend on, besides the
/// weights and the seeds of dropout.
#[derive(Debug)]
pub(crate) struct StepInputs {
    /// The noisy images, [batch, channel, height, width].
    pub(crate) x_t: Tensor,
    /// The timesteps that the network receives, `[batch]`, f32.
    pub(crate) timesteps: Tensor,
    /// What the loss compares the network's output with.
    pub(crate) target: SquaredErrorTarget,
}

impl StepInputs {
    /// All tensors, in a fixed order.
    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let Self { x_t, timesteps, target } = self;
        [x_t, timesteps, &target.target].into_iter().chain(&target.weights)
    }

    /// The same values in memory of their own.
    fn copy(&self) -> CandleResult<Self> {
        let SquaredErrorTarget { target, weights } = &self.target;
        let weights = weights.as_ref().map(Tensor::copy).transpose()?;
        let target = SquaredErrorTarget { target: target.copy()?, weights };
        Ok(Self { x_t: self.x_t.copy()?, timesteps: self.timesteps.copy()?, target })
    }

    /// Whether `other` can be copied into this value.
    fn has_shapes_of(&self, other: &Self) -> bool {
        let shapes = |inputs: &Self| -> Vec<_> { inputs.tensors().map(|tensor| tensor.dims().to_vec()).collect() };
        shapes(self) == shapes(other)
    }

    /// Overwrites the values with those of `other`, which has the same shapes.
    fn set(&self, other: &Self) -> CandleResult<()> {
        self.tensors().zip(other.tensors()).try_for_each(|(to, from)| to.slice_set(&from.contiguous()?, 0, 0))
    }
}

/// Takes training steps: the first ones operation by operation, and then replays of a captured one.
#[derive(Debug)]
pub(crate) struct CapturedStep {
    device: Device,
    cache: TrainingCache,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Steps are computed operation by operation. The number of those taken so far.
    WarmUp(u32),
    Captured(Box<Capture>),
    /// A step could not be captured.
    Failed,
}

#[derive(Debug)]
struct Capture {
    graph: StepGraph,
    /// What the graph reads.
    inputs: StepInputs,
    /// The number of seeds of dropout that the graph reads.
    seeds: usize,
    /// The stream of the captured step. Only an emulated GPU draws from it, and reads the stored seeds instead.
    dropout: Stream,
}

impl CapturedStep {
    /// Steps on this device, whose passes and updates use `cache`.
    pub(crate) fn new(device: &Device, cache: &TrainingCache) -> Self {
        Self { device: device.clone(), cache: cache.clone(), state: State::WarmUp(0) }
    }

    /// Discards the captured step, as its memory may have been replaced.
    pub(crate) fn reset(&mut self) {
        self.state = State::WarmUp(0);
    }

    /// Whether steps are replayed.
    pub(crate) fn is_captured(&self) -> bool {
        matches!(self.state, State::Captured(_))
    }

    /// Takes one step: forward pass, loss, backward pass and update. `dropout` is the stream of the step.
    pub(crate) fn step(
        &mut self,
        model: &TrainableModel,
        update: &mut dyn CapturedUpdate,
        inputs: &StepInputs,
        learning_rate: f64,
        dropout: &Stream,
    ) -> Result<(), TrainerError> {
        update.begin(learning_rate)?;
        if matches!(self.state, State::WarmUp(WARM_UP_STEPS)) {
            self.state = match self.capture(model, update, inputs, dropout) {
                Ok(capture) => {
                    info!("the training step was captured as a CUDA graph");
                    State::Captured(Box::new(capture))
                }
                Err(error) => {
                    warn!("train.cuda_graph has no effect: the training step cannot be captured: {error}");
                    State::Failed
                }
            };
        }
        match &mut self.state {
            State::Captured(capture) if capture.inputs.has_shapes_of(inputs) => {
                capture.inputs.set(inputs)?;
                let mut seeds = dropout.clone();
                let seeds: Vec<u64> = (0..capture.seeds).map(|_| seeds.seed()).collect();
                self.cache.store_seeds(&seeds, &self.device)?;
                update.prepare_replay()?;
                capture.graph.replay(|| compute(model, update, &capture.inputs, &mut capture.dropout.clone()))?;
            }
            state => {
                StepGraph::warm_up(&self.device, || compute(model, update, inputs, &mut dropout.clone()))?;
                if let State::WarmUp(steps) = state {
                    *steps += 1;
                }
            }
        }
        Ok(())
    }

    /// Captures a step of the shapes of `inputs`, after a step of `dropout`'s network has been taken.
    fn capture(
        &self,
        model: &TrainableModel,
        update: &mut dyn CapturedUpdate,
        inputs: &StepInputs,
        dropout: &Stream,
    ) -> CandleResult<Capture> {
        let inputs = inputs.copy()?;
        // A pass without a backward pass, to see what it draws.
        let mut after = dropout.clone();
        drop(model.denoiser.predict_train(&inputs.x_t, &inputs.timesteps, &mut after)?);
        let mut expected = dropout.clone();
        let seeds = self.cache.seeds();
        let drawn: Vec<u64> = seeds.iter().map(|_| expected.seed()).collect();
        if drawn != seeds || expected.seed() != after.seed() {
            return Err(candle_core::Error::msg(
                "the network draws other random numbers than seeds of dropout, or does not use the training cache",
            ));
        }
        self.cache.store_seeds(&seeds, &self.device)?;
        let graph =
            StepGraph::capture(&self.device, &self.cache, || compute(model, update, &inputs, &mut dropout.clone()))?;
        Ok(Capture { graph, inputs, seeds: seeds.len(), dropout: dropout.clone() })
    }
}

/// Forward pass, loss, backward pass, and the launch of the update.
fn compute(
    model: &TrainableModel,
    update: &mut dyn CapturedUpdate,
    inputs: &StepInputs,
    dropout: &mut Stream,
) -> CandleResult<()> {
    let prediction = model.denoiser.predict_train(&inputs.x_t, &inputs.timesteps, dropout)?;
    let error = inputs.target.loss_and_gradient(&prediction.output()).map_err(candle_core::Error::wrap)?;
    let LossAndGradient { loss, gradient } = error;
    let gradients = model.gradients(prediction.backward(&gradient)?);
    update.launch(&loss, gradients)
}
