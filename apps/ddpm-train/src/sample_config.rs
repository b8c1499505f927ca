//! What the `[sample]` table of a configuration says: previews, and what `ddpm-sample` does when it is told nothing.

use ddpm_diffusion::{MeanForm, Method, SamplerConfig};
use ddpm_schedule::{Schedule, Spacing, VarianceKind};
use serde::{Deserialize, Serialize};

/// How pictures are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleConfig {
    /// `ddpm`, `ddim` or `dpm-solver`. `ddpm` if left out.
    #[serde(default)]
    pub(crate) method: Method,
    /// Of `ddim`: the share of noise, in [0, 1]. 0 if left out.
    #[serde(default)]
    pub(crate) eta: f64,
    /// `epsilon`, the article's procedure, or `clipped-x0`, its tip 3.
    pub(crate) mean: MeanForm,
    /// `fixed-large`, σ² = β, or `fixed-small`, σ² = β̃ (the article's tip 1).
    pub(crate) variance: VarianceKind,
    /// Steps of a sampling, 1 to `diffusion.timesteps`.
    pub(crate) steps: usize,
    /// Which steps are taken where they are fewer.
    pub(crate) spacing: Spacing,
    /// Pictures of a preview grid; 0 for no previews.
    pub(crate) preview_images: usize,
    /// Steps of a preview, 1 to `diffusion.timesteps`.
    pub(crate) preview_steps: usize,
}

impl SampleConfig {
    /// Whether a model of `schedule` can be sampled so.
    pub(crate) fn validate(&self, schedule: &Schedule) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.eta) {
            return Err(format!("sample.eta: expected a share in [0, 1], found {}", self.eta));
        }
        let timesteps = schedule.len();
        for (field, steps) in [("sample.steps", self.steps), ("sample.preview_steps", self.preview_steps)] {
            if !(1..=timesteps).contains(&steps) {
                return Err(format!("{field}: expected 1 to diffusion.timesteps = {timesteps}, found {steps}"));
            }
            // The pictures would be refused after hours of training.
            if schedule.respaced(steps, self.spacing).is_ok_and(|walk| walk.alpha_bar(steps - 1) == 0.0) {
                return Err(format!(
                    "{field}: with diffusion.zero_terminal_snr the last of these {steps} steps has no signal to find x_0 \
                     from; expected sample.spacing = \"leading\" and fewer steps than diffusion.timesteps"
                ));
            }
        }
        if self.preview_images > MOST_PREVIEWS {
            let found = self.preview_images;
            return Err(format!("sample.preview_images: expected at most {MOST_PREVIEWS}, found {found}"));
        }
        Ok(())
    }

    /// What `ddpm-sample` does when it is told nothing; stored with the model.
    pub(crate) fn sampler(&self) -> SamplerConfig {
        let Self { method, eta, mean, variance, steps, spacing, .. } = *self;
        SamplerConfig { method, eta, mean, variance, steps, spacing }
    }

    /// The shorter one of the previews.
    pub(crate) fn preview_sampler(&self) -> SamplerConfig {
        SamplerConfig { steps: self.preview_steps, ..self.sampler() }
    }
}

/// More would not fit a grid that anybody looks at.
const MOST_PREVIEWS: usize = 1024;
