//! Adam and AdamW over named parameters, with their state in the open.

use std::collections::BTreeMap;

use candle_core::{Result, Tensor, Var};
use ddpm_ops::{AdamStep, AdamUpdate, Gradient};
use serde::{Deserialize, Serialize};

/// Which form of weight decay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Optimizer {
    /// Weight decay as an L2 penalty in the gradient (Kingma & Ba 2015).
    Adam,
    /// Weight decay apart from the gradient (Loshchilov & Hutter 2019).
    #[serde(rename = "adamw")]
    AdamW,
}

/// The constants of the optimiser.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamConfig {
    /// Which form of weight decay.
    pub optimizer: Optimizer,
    /// Decay of the first moment, in [0, 1).
    pub beta1: f64,
    /// Decay of the second moment, in [0, 1).
    pub beta2: f64,
    /// Added to the root of the second moment, above 0.
    pub epsilon: f64,
    /// λ, at least 0.
    pub weight_decay: f64,
}

impl AdamConfig {
    /// λ added to the gradient as λ θ.
    pub(crate) fn coupled_weight_decay(self) -> f64 {
        if self.optimizer == Optimizer::Adam { self.weight_decay } else { 0.0 }
    }

    /// λ taken from the parameter as lr λ θ.
    pub(crate) fn decoupled_weight_decay(self) -> f64 {
        if self.optimizer == Optimizer::AdamW { self.weight_decay } else { 0.0 }
    }
}

/// The optimiser: its moments are named tensors like the parameters, its step a number, so that both can be saved.
#[derive(Debug)]
pub struct Adam {
    config: AdamConfig,
    /// Steps taken.
    step: u64,
    moments: BTreeMap<String, Moments>,
}

#[derive(Debug)]
struct Moments {
    first: Var,
    second: Var,
}

impl Adam {
    /// Moments of zero for those parameters.
    ///
    /// # Errors
    /// When the device has no room.
    pub fn new(config: AdamConfig, parameters: &BTreeMap<String, Var>) -> Result<Self> {
        let zeros = |(name, var): (&String, &Var)| {
            let moments =
                Moments { first: Var::from_tensor(&var.zeros_like()?)?, second: Var::from_tensor(&var.zeros_like()?)? };
            Ok((name.clone(), moments))
        };
        Ok(Self { config, step: 0, moments: parameters.iter().map(zeros).collect::<Result<_>>()? })
    }

    /// One update of every parameter that has a gradient.
    ///
    /// `gradient_scale` multiplies the gradients first: see [`crate::clip_scale`].
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
        self.step += 1;
        let AdamConfig { beta1, beta2, epsilon, .. } = self.config;
        let step = AdamStep {
            beta1,
            beta2,
            epsilon,
            learning_rate,
            bias_correction1: 1.0 - beta1.powf(self.step as f64),
            bias_correction2: 1.0 - beta2.powf(self.step as f64),
            gradient_scale,
            coupled_weight_decay: self.config.coupled_weight_decay(),
            decoupled_weight_decay: self.config.decoupled_weight_decay(),
        };
        let update = |(name, gradient)| {
            let (parameter, Moments { first, second }) = (parameters.get(name)?, self.moments.get(name)?);
            Some(AdamUpdate { parameter, moment1: first, moment2: second, gradient })
        };
        ddpm_ops::adam_step(&gradients.iter().filter_map(update).collect::<Vec<_>>(), step)
    }

    /// Steps taken.
    pub fn steps(&self) -> u64 {
        self.step
    }

    /// First and second moment of that parameter, for updates that are made elsewhere and told of with [`Adam::count`].
    pub fn moments(&self, name: &str) -> Option<(&Var, &Var)> {
        self.moments.get(name).map(|moments| (&moments.first, &moments.second))
    }

    /// Counts a step that was made elsewhere.
    pub fn count(&mut self) {
        self.step += 1;
    }

    /// The moments, as `adam.first.NAME` and `adam.second.NAME`.
    pub fn state(&self) -> BTreeMap<String, Tensor> {
        let named = |(name, moments): (&String, &Moments)| {
            [(first(name), moments.first.as_tensor().clone()), (second(name), moments.second.as_tensor().clone())]
        };
        self.moments.iter().flat_map(named).collect()
    }

    /// Takes up a state that [`Adam::state`] gave after `steps` steps.
    ///
    /// # Errors
    /// When a moment is missing or has another shape.
    pub fn restore(&mut self, steps: u64, state: &BTreeMap<String, Tensor>) -> Result<()> {
        for (name, moments) in &self.moments {
            for (var, key) in [(&moments.first, first(name)), (&moments.second, second(name))] {
                let Some(saved) = state.get(&key) else { candle_core::bail!("{key} is missing") };
                var.set(&saved.to_device(var.device())?)?;
            }
        }
        self.step = steps;
        Ok(())
    }
}

fn first(name: &str) -> String {
    format!("adam.first.{name}")
}

fn second(name: &str) -> String {
    format!("adam.second.{name}")
}
