//! What the `[sample]` table of a configuration says: previews, and what `ddpm-sample` does when it is told nothing.

use ddpm_diffusion::{DiffusionError, GaussianDiffusion, ReverseVariance, SamplerConfig};
use serde::{Deserialize, Serialize};

/// How images are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleConfig {
    /// What `ddpm-sample` does when it is told nothing; stored with the model.
    #[serde(flatten)]
    pub(crate) sampler: SamplerConfig,
    /// Images of a preview grid; 0 for no previews.
    pub(crate) preview_images: usize,
    /// Steps of a preview, 1 to `diffusion.timesteps`.
    pub(crate) preview_steps: usize,
}

impl SampleConfig {
    /// Whether a model of `diffusion` can be sampled so.
    pub(crate) fn validate(&self, diffusion: &GaussianDiffusion) -> Result<(), String> {
        let timesteps = diffusion.schedule().len();
        for (field, steps) in [("sample.steps", self.sampler.steps), ("sample.preview_steps", self.preview_steps)] {
            if !(1..=timesteps).contains(&steps) {
                return Err(format!("{field}: expected 1 to diffusion.timesteps = {timesteps}, found {steps}"));
            }
            // The images would be refused after hours of training.
            match (SamplerConfig { steps, ..self.sampler }).respaced(diffusion) {
                Ok(_) => {}
                Err(error @ DiffusionError::NoSignal { heun, .. }) => {
                    let or = if heun { "another sample.method" } else { "diffusion.prediction = \"v\"" };
                    return Err(format!("{field}: {error}; that is sample.spacing = \"leading\", or {or}"));
                }
                Err(error) => return Err(format!("sample.{error}")),
            }
        }
        if matches!(self.sampler.variance, ReverseVariance::Learned | ReverseVariance::LearnedRange) {
            return Err(
                "sample.variance: expected fixed-large or fixed-small, found a learnt one, which no training here \
                        learns"
                    .into(),
            );
        }
        if self.preview_images > MOST_PREVIEWS {
            let found = self.preview_images;
            return Err(format!("sample.preview_images: expected at most {MOST_PREVIEWS}, found {found}"));
        }
        Ok(())
    }

    /// The shorter one of the previews.
    pub(crate) fn preview_sampler(&self) -> SamplerConfig {
        SamplerConfig { steps: self.preview_steps, ..self.sampler }
    }
}

/// More would not fit a grid that anybody looks at.
const MOST_PREVIEWS: usize = 1024;
