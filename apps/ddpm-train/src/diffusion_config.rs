//! The table `[diffusion]` of a configuration: the noise schedule, and what the network predicts.

use ddpm_diffusion::GaussianDiffusion;
use ddpm_schedule::{Prediction, ScheduleConfig, ScheduleError};
use serde::{Deserialize, Serialize};

/// The keys of `[diffusion]` that only some of the beta schedules read.
pub(crate) const BETA_PARAMETERS: [&str; 5] = ["beta_start", "beta_end", "cosine_offset", "max_beta", "betas"];

/// The diffusion process that a run trains.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffusionConfig {
    /// What the network predicts: `epsilon` (the default), `x0` or `v`.
    #[serde(default)]
    pub(crate) prediction: Prediction,
    #[serde(flatten)]
    pub(crate) schedule: ScheduleConfig,
}

impl DiffusionConfig {
    /// Builds the diffusion process.
    ///
    /// # Errors
    /// When a parameter of the schedule is out of range.
    pub(crate) fn build(&self) -> Result<GaussianDiffusion, ScheduleError> {
        Ok(GaussianDiffusion::new(self.schedule.build()?).with_prediction(self.prediction))
    }
}
