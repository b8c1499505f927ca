//! Adam and AdamW over named parameters, with a state that can be saved.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use ddpm_ops::{AdamStep, AdamUpdate, Gradient};

use crate::adam_config::AdamConfig;
use crate::adam_moments::AdamMoments;
use crate::error::TrainerError;

/// The optimizer Adam (Kingma & Ba 2015) or AdamW (Loshchilov & Hutter 2019).
///
/// candle-nn's `AdamW` hides its moments. Here they are named tensors like the parameters, so that a checkpoint stores
/// them and a resumed run continues with the same bits.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    steps: u64,
    moments: AdamMoments,
}

impl Adam {
    /// An optimizer whose moments are zero.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub fn new(config: AdamConfig, parameters: &BTreeMap<String, Var>) -> Result<Self> {
        Ok(Self { config, steps: 0, moments: AdamMoments::zeros(parameters)? })
    }

    /// Updates every parameter that has a gradient.
    ///
    /// The gradients are multiplied by `gradient_scale` first, so that clipping needs no pass of its own: see
    /// [`clip_scale`](crate::clip_scale).
    ///
    /// # Errors
    /// When a gradient has another shape than its parameter.
    pub fn update(
        &mut self,
        parameters: &BTreeMap<String, Var>,
        gradients: &BTreeMap<String, Gradient>,
        learning_rate: f64,
        gradient_scale: f64,
    ) -> Result<()> {
        self.steps += 1;
        let AdamConfig { beta1, beta2, epsilon, .. } = self.config;
        let step = AdamStep {
            beta1,
            beta2,
            epsilon,
            learning_rate,
            bias_correction1: 1.0 - beta1.powf(self.steps as f64),
            bias_correction2: 1.0 - beta2.powf(self.steps as f64),
            gradient_scale,
            coupled_weight_decay: self.config.coupled_weight_decay(),
            decoupled_weight_decay: self.config.decoupled_weight_decay(),
        };
        let update = |(name, gradient): (&String, _)| {
            let (moment1, moment2) = self.moments.get(name)?;
            Some(AdamUpdate { parameter: parameters.get(name)?, moment1, moment2, gradient })
        };
        ddpm_ops::adam_step(&gradients.iter().filter_map(update).collect::<Vec<_>>(), step)
    }

    /// Number of updates since the moments were zero.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The moments, as `adam.first.NAME` and `adam.second.NAME`. The tensors share their memory with the optimizer.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        self.moments.tensors()
    }

    /// Continues from a state that [`Adam::state`] returned after `steps` updates.
    ///
    /// # Errors
    /// [`TrainerError::State`] when a moment is missing or has another shape.
    pub fn restore(&mut self, steps: u64, state: &BTreeMap<String, Tensor>) -> std::result::Result<(), TrainerError> {
        self.moments.restore(state)?;
        self.steps = steps;
        Ok(())
    }
}
