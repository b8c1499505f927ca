//! The part of a step after the backward pass: clipping, the optimizer's step and the EMA.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use candle_core::Tensor;
use ddpm_distributed::Communicator;
use ddpm_ops::{Gradient, UpdateRecord};

use crate::adam_config::AdamConfig;
use crate::error::TrainerError;

/// How the parameters are updated.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct UpdateConfig {
    /// The constants of the optimizer.
    pub adam: AdamConfig,
    /// Largest global norm of the gradient; None for no limit.
    pub max_gradient_norm: Option<f64>,
    /// Decay of the EMA of the weights, in [0, 1).
    pub ema_decay: f64,
    /// Whether the EMA follows the weights more closely at first: see [`ema_decay`](ddpm_ema::ema_decay).
    pub ema_warmup: bool,
}

/// Updates parameters, moments and EMA from the gradients of a step.
///
/// There are two implementations. [`CpuUpdate`](crate::CpuUpdate) performs the four parts of a step one after the
/// other. [`GpuUpdate`](crate::GpuUpdate) launches kernels that perform the same four parts on the GPU, so that the
/// CPU need not wait for the loss and the norm of the gradient and can prepare the next steps meanwhile.
pub trait ParameterUpdate: Debug {
    /// One step, in this order:
    /// 1. Skip the step, and change nothing, if the loss or the global norm of the gradients is not finite.
    /// 2. Clip the gradients to the maximal global norm.
    /// 3. Let Adam or AdamW update the parameters.
    /// 4. Let the EMA follow the parameters.
    ///
    /// `loss` is a scalar; `gradients` holds the gradients by the names of their parameters. The step may still be in
    /// flight when the method returns.
    ///
    /// # Errors
    /// When a gradient has another size than its parameter, when more than [`ParameterUpdate::max_steps_in_flight`]
    /// steps would be in flight on a GPU, or when the device fails.
    fn step(
        &mut self,
        loss: &Tensor,
        gradients: BTreeMap<String, Gradient>,
        learning_rate: f64,
    ) -> Result<(), TrainerError>;

    /// Makes all ranks of `communicator` update alike, also if their processors differ. On GPUs, which sum the same
    /// gradients to the same bits, there is nothing to do.
    fn share_with(&mut self, communicator: Arc<dyn Communicator>) {
        let _ = communicator;
    }

    /// The update in two parts, for a step that is captured as a CUDA graph; None if it cannot be captured.
    fn as_captured(&mut self) -> Option<&mut dyn CapturedUpdate> {
        None
    }

    /// The results of the steps since the last call, in their order. Waits until they are complete.
    ///
    /// # Errors
    /// When the device fails.
    fn take_records(&mut self) -> Result<Vec<UpdateRecord>, TrainerError>;

    /// Number of steps after which [`ParameterUpdate::take_records`] is to be called: 1 if a step is complete when it
    /// returns.
    fn max_steps_in_flight(&self) -> usize;

    /// The moments of the optimizer, as `adam.first.NAME` and `adam.second.NAME`. The tensors share their memory with
    /// those that the next step changes.
    fn moments(&self) -> BTreeMap<String, Tensor>;

    /// Continues from `moments` after `optimizer_steps` steps of the optimizer and `ema_updates` updates of the EMA,
    /// neither of which includes skipped steps. Records that were not taken are discarded. The caller sets the
    /// parameters and their EMA.
    ///
    /// # Errors
    /// [`TrainerError::State`] when a moment is missing or has another shape.
    fn restore(
        &mut self,
        moments: &BTreeMap<String, Tensor>,
        optimizer_steps: u64,
        ema_updates: u64,
    ) -> Result<(), TrainerError>;
}

/// An update whose operations can be captured as a part of a CUDA graph.
pub trait CapturedUpdate {
    /// Begins an update with this learning rate, which [`Self::launch`] or the replay of a captured launch completes.
    ///
    /// # Errors
    /// When too many updates are in flight, or the device fails.
    fn begin(&mut self, learning_rate: f64) -> candle_core::Result<()>;

    /// Launches the operations of the update, with the loss and the gradients by the names of their parameters.
    ///
    /// # Errors
    /// When a gradient has another size than its parameter, or the device fails.
    fn launch(&mut self, loss: &Tensor, gradients: BTreeMap<String, Gradient>) -> candle_core::Result<()>;

    /// Prepares the replay of a captured launch.
    ///
    /// # Errors
    /// When the device fails.
    fn prepare_replay(&mut self) -> candle_core::Result<()>;
}
