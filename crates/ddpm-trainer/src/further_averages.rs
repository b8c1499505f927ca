//! Averages of the weights besides the one that previews show.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};
use ddpm_checkpoint::{PARAMETER_PREFIX, Tensors, WeightAverage, ema_prefix, power_ema_prefix};
use ddpm_ema::PowerFunction;

use crate::ema::{Ema, EmaDecay};
use crate::error::TrainerError;
use crate::named_variables::{named_tensors, restore_variables};
use crate::train_config::TrainConfig;

/// The lengths of the power-function averages that are stored for post-hoc EMA, those of Karras et al. 2024b.
const POWER_EMA_SIGMA_REL: [f64; 2] = [0.05, 0.1];

/// Averages that follow the weights after every step. A skipped step, which leaves the weights as they are, counts too,
/// so that the CPU need not know the result of a step that still runs on a GPU.
#[derive(Debug)]
pub(crate) struct FurtherAverages(Vec<FurtherAverage>);

#[derive(Debug)]
struct FurtherAverage {
    /// The prefix of the names of its tensors in a checkpoint.
    prefix: String,
    decay: EmaDecay,
    average: Ema,
}

impl FurtherAverages {
    /// The averages that `config` asks for besides the first one, starting from the present values of `parameters`.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub(crate) fn new(config: &TrainConfig, parameters: &BTreeMap<String, Var>) -> Result<Self, TrainerError> {
        let exponential = config
            .ema_decay
            .further()
            .iter()
            .map(|&decay| (ema_prefix(decay), EmaDecay::Exponential { decay, warmup: config.ema_warmup }));
        let sigmas = POWER_EMA_SIGMA_REL.iter().filter(|_| config.power_ema_every_steps > 0);
        let power = sigmas.filter_map(|&sigma_rel| {
            Some((power_ema_prefix(sigma_rel), EmaDecay::PowerFunction(PowerFunction::new(sigma_rel)?)))
        });
        let averages = exponential.chain(power).map(|(prefix, decay)| {
            let copy = |(name, var): (&String, &Var)| Ok((name.clone(), Var::from_tensor(&var.copy()?)?));
            let variables = parameters.iter().map(copy).collect::<candle_core::Result<_>>()?;
            Ok(FurtherAverage { prefix, decay, average: Ema::new(decay, variables) })
        });
        Ok(Self(averages.collect::<Result<_, TrainerError>>()?))
    }

    /// Moves the averages towards the present values of the parameters.
    ///
    /// # Errors
    /// When the device fails.
    pub(crate) fn update(&mut self, parameters: &BTreeMap<String, Var>) -> Result<(), TrainerError> {
        Ok(self.0.iter_mut().try_for_each(|further| further.average.update(parameters))?)
    }

    /// The averages as the tensors of a checkpoint. They share their memory with the averages.
    pub(crate) fn tensors(&self) -> impl Iterator<Item = (String, Tensor)> + '_ {
        self.0.iter().flat_map(|further| named_tensors(further.average.averages(), &further.prefix))
    }

    /// The present power-function averages. Their tensors share their memory with them.
    pub(crate) fn power_averages(&self) -> Vec<WeightAverage> {
        let power = self.0.iter().filter_map(|further| match further.decay {
            EmaDecay::PowerFunction(function) => Some((function, &further.average)),
            EmaDecay::Exponential { .. } => None,
        });
        power
            .map(|(function, average)| WeightAverage {
                sigma_rel: function.sigma_rel(),
                tensors: named_tensors(average.averages(), "").collect(),
            })
            .collect()
    }

    /// Continues from the tensors `saved` of a checkpoint after `step` steps. An exponential average that the
    /// checkpoint does not have starts from `first_average`, the one that previews show.
    ///
    /// # Errors
    /// [`TrainerError::State`] when a tensor has another shape, or power-function averages are missing.
    pub(crate) fn restore(&mut self, saved: &Tensors, first_average: &Tensors, step: u64) -> Result<(), TrainerError> {
        for FurtherAverage { prefix, decay, average } in &mut self.0 {
            let is_saved = saved.keys().any(|name| name.starts_with(prefix.as_str()));
            match decay {
                _ if is_saved => restore_variables(average.averages(), prefix, saved)?,
                EmaDecay::Exponential { decay, .. } => {
                    tracing::info!("the average of decay {decay} is new and starts from the first one");
                    restore_variables(average.averages(), "", first_average)?;
                }
                EmaDecay::PowerFunction(_) if step == 0 => {
                    restore_variables(average.averages(), PARAMETER_PREFIX, saved)?
                }
                EmaDecay::PowerFunction(_) => {
                    return Err(TrainerError::State(
                        "train.power_ema_every_steps: expected 0, because the run has no power-function averages from \
                         its beginning on"
                            .into(),
                    ));
                }
            }
            average.restore(step);
        }
        Ok(())
    }
}
