//! What the `[diffusion]` table of a configuration says: the schedule, and what the network predicts.

use ddpm_diffusion::GaussianDiffusion;
use ddpm_schedule::{Prediction, ScheduleConfig, ScheduleError};
use serde::{Deserialize, Serialize};

/// The diffusion process that is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct DiffusionConfig {
    /// `epsilon`, `x0` or `v`. `epsilon` if left out.
    #[serde(default)]
    pub(crate) prediction: Prediction,
    #[serde(flatten)]
    pub(crate) schedule: ScheduleConfig,
}

impl DiffusionConfig {
    /// The process, validated.
    pub(crate) fn build(&self) -> Result<GaussianDiffusion, ScheduleError> {
        Ok(GaussianDiffusion::new(self.schedule.build()?).with_prediction(self.prediction))
    }
}
