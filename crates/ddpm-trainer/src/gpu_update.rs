//! The parameter update that runs on a GPU while the CPU prepares the next steps.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use ddpm_ops::{DeviceUpdate, Gradient, TrainingCache, UpdateHyperparameters, UpdateRecord, Updated};

use crate::adam_moments::AdamMoments;
use crate::error::TrainerError;
use crate::parameter_update::{CapturedUpdate, ParameterUpdate, UpdateConfig};

/// The update of parameters on a GPU, in three kernel launches for all parameters. Loss and gradient norm stay on the
/// GPU, which decides itself whether a step is skipped; the CPU reads them many steps at a time.
#[derive(Debug)]
pub struct GpuUpdate {
    config: UpdateConfig,
    /// The names of the parameters, in the order in which `kernels` expects their gradients.
    names: Vec<String>,
    moments: AdamMoments,
    kernels: DeviceUpdate,
}

impl GpuUpdate {
    /// Whether there are kernels for all of these parameters: f32 tensors on a GPU.
    pub fn supports(parameters: &BTreeMap<String, Var>) -> bool {
        !parameters.is_empty() && parameters.values().all(|parameter| DeviceUpdate::supports(parameter))
    }

    /// Updates `parameters` and their EMA, `ema_parameters`, in place.
    ///
    /// # Errors
    /// When [`GpuUpdate::supports`] is false, a parameter has no EMA of its shape, or the GPU has too little memory
    /// for the moments.
    pub fn new(
        config: UpdateConfig,
        parameters: &BTreeMap<String, Var>,
        ema_parameters: &BTreeMap<String, Var>,
    ) -> Result<Self, TrainerError> {
        let moments = AdamMoments::zeros(parameters)?;
        let variables = |(name, parameter): (&String, &Var)| {
            let (moment1, moment2) = moments.get(name)?;
            let average = ema_parameters.get(name)?.clone();
            Some(Updated { parameter: parameter.clone(), moment1: moment1.clone(), moment2: moment2.clone(), average })
        };
        let variables: Option<Vec<Updated>> = parameters.iter().map(variables).collect();
        let variables = variables.ok_or_else(|| TrainerError::Model("a parameter has no EMA".into()))?;
        let kernels = DeviceUpdate::new(variables)?;
        Ok(Self { config, names: parameters.keys().cloned().collect(), moments, kernels })
    }

    /// The same updates, which keep the convolution weights in `cache` current.
    pub fn with_cache(self, cache: TrainingCache) -> Self {
        Self { kernels: self.kernels.with_cache(cache), ..self }
    }
}

impl CapturedUpdate for GpuUpdate {
    fn begin(&mut self, learning_rate: f64) -> candle_core::Result<()> {
        self.kernels.begin(learning_rate)
    }

    fn launch(&mut self, loss: &Tensor, mut gradients: BTreeMap<String, Gradient>) -> candle_core::Result<()> {
        let UpdateConfig { adam, max_gradient_norm, ema_decay, ema_warmup } = self.config;
        let hyperparameters = UpdateHyperparameters {
            beta1: adam.beta1,
            beta2: adam.beta2,
            epsilon: adam.epsilon,
            coupled_weight_decay: adam.coupled_weight_decay(),
            decoupled_weight_decay: adam.decoupled_weight_decay(),
            max_norm: max_gradient_norm,
            ema_decay,
            ema_warmup,
        };
        let gradients: Vec<Option<Gradient>> = self.names.iter().map(|name| gradients.remove(name)).collect();
        self.kernels.launch(&gradients, loss, &hyperparameters)
    }

    fn prepare_replay(&mut self) -> candle_core::Result<()> {
        self.kernels.prepare_replay()
    }
}

impl ParameterUpdate for GpuUpdate {
    fn step(
        &mut self,
        loss: &Tensor,
        gradients: BTreeMap<String, Gradient>,
        learning_rate: f64,
    ) -> Result<(), TrainerError> {
        self.begin(learning_rate)?;
        Ok(self.launch(loss, gradients)?)
    }

    fn as_captured(&mut self) -> Option<&mut dyn CapturedUpdate> {
        Some(self)
    }

    fn take_records(&mut self) -> Result<Vec<UpdateRecord>, TrainerError> {
        Ok(self.kernels.records()?)
    }

    fn max_steps_in_flight(&self) -> usize {
        DeviceUpdate::MAX_STEPS_IN_FLIGHT
    }

    fn moments(&self) -> BTreeMap<String, Tensor> {
        self.moments.tensors()
    }

    fn restore(
        &mut self,
        moments: &BTreeMap<String, Tensor>,
        optimizer_steps: u64,
        ema_updates: u64,
    ) -> Result<(), TrainerError> {
        self.moments.restore(moments)?;
        Ok(self.kernels.restore(optimizer_steps, ema_updates)?)
    }
}
