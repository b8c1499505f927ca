//! The table `[sample]` of a configuration: the sampler of the model, and the previews of the run.

use ddpm_diffusion::{DiffusionError, GaussianDiffusion, ReverseVariance, SamplerConfig};
use serde::{Deserialize, Serialize};

/// Largest number of images of a preview.
pub(crate) const MAX_PREVIEW_IMAGES: usize = 1024;

/// How images are sampled.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SampleConfig {
    /// The sampler that is stored with the model. `ddpm-sample` uses it unless its options specify another.
    #[serde(flatten)]
    pub(crate) sampler: SamplerConfig,
    /// Number of images of a preview; 0 for no previews.
    pub(crate) preview_images: usize,
    /// Number of sampling steps of a preview, 1 to `diffusion.timesteps`.
    pub(crate) preview_steps: usize,
}

impl SampleConfig {
    /// Checks that a model of `diffusion` can be sampled with this configuration, before hours of training.
    ///
    /// # Errors
    /// A message that names the key.
    pub(crate) fn validate(&self, diffusion: &GaussianDiffusion) -> Result<(), String> {
        check_sampler("sample.steps", self.sampler, diffusion)?;
        check_sampler("sample.preview_steps", self.preview_sampler(), diffusion)?;
        let variance = self.sampler.variance;
        if matches!(variance, ReverseVariance::Learned | ReverseVariance::LearnedRange) {
            return Err(format!(
                "sample.variance: expected fixed-large or fixed-small, found {variance}, which cannot be trained"
            ));
        }
        if self.preview_images > MAX_PREVIEW_IMAGES {
            let found = self.preview_images;
            return Err(format!("sample.preview_images: expected at most {MAX_PREVIEW_IMAGES}, found {found}"));
        }
        Ok(())
    }

    /// The sampler of the previews, which may take fewer steps than that of the model.
    pub(crate) fn preview_sampler(&self) -> SamplerConfig {
        SamplerConfig { steps: self.preview_steps, ..self.sampler }
    }
}

/// Checks a sampler whose number of steps is the value of `key`.
fn check_sampler(key: &str, sampler: SamplerConfig, diffusion: &GaussianDiffusion) -> Result<(), String> {
    let (steps, timesteps) = (sampler.steps, diffusion.schedule().len());
    if !(1..=timesteps).contains(&steps) {
        return Err(format!("{key}: expected 1 to diffusion.timesteps = {timesteps}, found {steps}"));
    }
    match sampler.respaced(diffusion) {
        Ok(_) => Ok(()),
        Err(error @ DiffusionError::NoSignal { heun, .. }) => {
            let other = if heun { "another sample.method" } else { "diffusion.prediction = \"v\"" };
            Err(format!("{key}: {error}; that is sample.spacing = \"leading\", or {other}"))
        }
        Err(error) => Err(format!("sample.{error}")),
    }
}
