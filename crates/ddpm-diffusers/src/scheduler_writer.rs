//! Writing the configuration of a scheduler, `scheduler_config.json`.

use std::path::Path;

use ddpm_diffusion::{Clipping, SamplerConfig};
use ddpm_schedule::{BetaScheduleName, Prediction, ScheduleConfig};
use serde_json::{Value, json};

use crate::error::{DiffusersError, Result};
use crate::option_names::{beta_schedule, prediction_type, timestep_spacing, variance_type};
use crate::version::DIFFUSERS_VERSION;

/// The configuration of a `DDPMScheduler` with this noise schedule, clipping, variance and spacing.
///
/// The sampling method, its order and its number of steps are left out: in diffusers the caller of the pipeline chooses
/// them. `path` is the file that errors name.
///
/// # Errors
/// [`DiffusersError::Field`] if the noise schedule cannot be built.
pub(crate) fn scheduler_config(
    schedule: &ScheduleConfig,
    prediction: Prediction,
    sampler: &SamplerConfig,
    path: &Path,
) -> Result<Value> {
    let (clip_sample, thresholding) = match sampler.clip {
        Clipping::None => (false, false),
        Clipping::Fixed => (true, false),
        Clipping::Dynamic => (false, true),
    };
    let mut config = json!({
        "_class_name": "DDPMScheduler",
        "_diffusers_version": DIFFUSERS_VERSION,
        "num_train_timesteps": schedule.timesteps,
        "prediction_type": prediction_type(prediction),
        "clip_sample": clip_sample,
        "clip_sample_range": sampler.clip_range,
        "variance_type": variance_type(sampler.variance),
        "timestep_spacing": timestep_spacing(sampler.spacing),
        "rescale_betas_zero_snr": false,
        "steps_offset": 0,
        "thresholding": thresholding,
        "dynamic_thresholding_ratio": sampler.threshold_quantile,
        "sample_max_value": sampler.threshold_max,
        "trained_betas": Value::Null,
    });
    match named_rule(schedule) {
        Some(name) => {
            config["beta_schedule"] = name.into();
            config["beta_start"] = schedule.beta_start.unwrap_or(1e-4).into();
            config["beta_end"] = schedule.beta_end.unwrap_or(0.02).into();
            config["rescale_betas_zero_snr"] = schedule.zero_terminal_snr.into();
        }
        None => {
            let built = schedule.build().map_err(|e| DiffusersError::field(path, "diffusion", e.to_string()))?;
            config["trained_betas"] = built.betas().into();
        }
    }
    Ok(config)
}

/// The name of the rule for β, or `None` if diffusers cannot compute these betas from a name.
fn named_rule(schedule: &ScheduleConfig) -> Option<&'static str> {
    // diffusers has one cosine schedule, without parameters.
    let cosine = (schedule.cosine_offset.unwrap_or(0.008), schedule.max_beta.unwrap_or(0.999));
    let other_cosine = schedule.beta_schedule == BetaScheduleName::Cosine && cosine != (0.008, 0.999);
    beta_schedule(schedule.beta_schedule).filter(|_| !schedule.rescale_timesteps && !other_cosine)
}
