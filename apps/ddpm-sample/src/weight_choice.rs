//! The choice among the trained weights of a run and their averages: `--ema`.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::Context;
use candle_core::{DType, Tensor};
use ddpm_checkpoint::{SavedModel, StoredAverage, Tensors, TrainingWeights, is_checkpoint, list_weight_averages};
use ddpm_cli::{pluralize, usage_error};
use ddpm_ema::{MAX_SIGMA_REL, PowerAverage, PowerFunction, post_hoc_weights};
use tracing::{info, warn};

/// The error of a post-hoc average from which a warning is logged.
const LARGE_ERROR: f64 = 0.05;

/// Which weights are sampled from.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum WeightChoice {
    /// The trained weights themselves.
    Trained,
    /// The exponential average of this decay.
    Exponential(f64),
    /// The power-function average of this length, from stored ones.
    PowerFunction(PowerFunction),
}

impl fmt::Display for WeightChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Trained => f.write_str("0"),
            Self::Exponential(decay) => write!(f, "{decay}"),
            Self::PowerFunction(function) => write!(f, "power:{}", function.sigma_rel()),
        }
    }
}

impl WeightChoice {
    /// Parses the value of `--ema`.
    ///
    /// # Errors
    /// What is expected.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let choice = match text.strip_prefix("power:") {
            Some(sigma_rel) => sigma_rel.parse().ok().and_then(PowerFunction::new).map(Self::PowerFunction),
            None => match text.parse::<f64>() {
                Ok(0.0) => Some(Self::Trained),
                Ok(decay) if decay > 0.0 && decay < 1.0 => Some(Self::Exponential(decay)),
                _ => None,
            },
        };
        choice.ok_or_else(|| {
            format!("expected 0, a decay below 1, or power:SIGMA with SIGMA between 0 and {MAX_SIGMA_REL:.3}")
        })
    }

    /// Whether these are the weights of `model` itself.
    pub(crate) fn is_of(self, model: &SavedModel) -> bool {
        model.description.ema_decay.is_some_and(|decay| self == Self::Exponential(decay))
    }

    /// The chosen weights of the run that `model` belongs to; `None` if they are those of `model`.
    ///
    /// # Errors
    /// When the run does not have them, or they cannot be read.
    pub(crate) fn read(self, model: &SavedModel) -> anyhow::Result<Option<Tensors>> {
        if self.is_of(model) {
            return Ok(None);
        }
        let checkpoint = model.path.parent().filter(|directory| is_checkpoint(directory)).ok_or_else(|| {
            let file = model.path.display();
            usage_error(format!(
                "--ema {self}: expected a run or a checkpoint, which holds these weights, found {file}"
            ))
        })?;
        match self {
            Self::Trained => Ok(Some(TrainingWeights::load(checkpoint)?.trained())),
            Self::Exponential(decay) => further_average(decay, model, checkpoint).map(Some),
            Self::PowerFunction(function) => post_hoc_average(function, model.step(), checkpoint).map(Some),
        }
    }
}

/// The average of `decay` in the directory `checkpoint`, whose model is `model`.
fn further_average(decay: f64, model: &SavedModel, checkpoint: &Path) -> anyhow::Result<Tensors> {
    let weights = TrainingWeights::load(checkpoint)?;
    let average = weights.average(decay);
    if average.is_empty() {
        let decays = model.description.ema_decay.into_iter().chain(weights.decays());
        let decays: Vec<String> = decays.map(|decay| decay.to_string()).collect();
        let found = if decays.is_empty() { "no known decay".to_owned() } else { decays.join(", ") };
        let checkpoint = checkpoint.display();
        return Err(usage_error(format!(
            "--ema {decay}: expected a decay of the averages of {checkpoint}, which are {found}; train.ema_decay adds \
             others"
        )));
    }
    Ok(average)
}

/// The power-function average after `step` steps that the stored ones of the run of `checkpoint` give.
fn post_hoc_average(function: PowerFunction, step: u64, checkpoint: &Path) -> anyhow::Result<Tensors> {
    let sigma_rel = function.sigma_rel();
    let run = checkpoint.parent().and_then(Path::parent).unwrap_or(checkpoint);
    let mut stored = list_weight_averages(run)?;
    stored.retain(|average| average.step > 0 && average.step <= step);
    let Some(updates) = stored.last().map(|average| average.step) else {
        let run = run.display();
        return Err(usage_error(format!(
            "--ema power:{sigma_rel}: expected stored averages in {run}/averages, found none up to step {step}; set \
             train.power_ema_every_steps from the beginning of a run"
        )));
    };
    if updates < step {
        warn!(
            "the newest stored averages of {} are of step {updates}, the checkpoint is of step {step}: the average \
             covers {updates} steps only",
            run.display()
        );
    }
    let profile = |average: &StoredAverage| {
        let function = PowerFunction::new(average.sigma_rel)
            .with_context(|| format!("{}: a stored average of length {}", run.display(), average.sigma_rel))?;
        Ok(PowerAverage { function, updates: average.step })
    };
    let profiles: Vec<PowerAverage> = stored.iter().map(profile).collect::<anyhow::Result<_>>()?;
    let combined = post_hoc_weights(&profiles, PowerAverage { function, updates })?;
    let percent = 100.0 * combined.error;
    let from = pluralize(stored.len(), "stored average");
    info!("post-hoc EMA of length {sigma_rel} of {updates} steps from {from}; its profile is off by {percent:.2} %");
    if combined.error > LARGE_ERROR {
        warn!(
            "the stored averages approximate a length of {sigma_rel} badly: choose one nearer to their lengths, or \
             store them more often"
        );
    }
    weighted_sum(&stored, &combined.weights)
}

/// Σ weight · average, in f64.
fn weighted_sum(stored: &[StoredAverage], weights: &[f64]) -> anyhow::Result<Tensors> {
    let mut sums: BTreeMap<String, Tensor> = BTreeMap::new();
    for (average, weight) in stored.iter().zip(weights) {
        for (name, tensor) in average.load()? {
            let scaled = (tensor.to_dtype(DType::F64)? * *weight)?;
            let sum = match sums.remove(&name) {
                Some(sum) => (sum + scaled).with_context(|| format!("the stored averages of {name}"))?,
                None => scaled,
            };
            sums.insert(name, sum);
        }
    }
    sums.into_iter().map(|(name, sum)| Ok((name, sum.to_dtype(DType::F32)?))).collect()
}
