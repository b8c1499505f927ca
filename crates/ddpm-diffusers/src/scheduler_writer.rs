//! Writing the configuration of a scheduler, `scheduler_config.json`.

use std::path::Path;

use ddpm_diffusion::{Clipping, ReverseVariance, SamplerConfig};
use ddpm_schedule::{BetaSchedule, BetaScheduleName, Prediction, ScheduleConfig, ScheduleError, Spacing};
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
    // Both are taken apart in full, so that a new field does not compile before it is written or known to be left out.
    let SamplerConfig {
        method: _,
        eta: _,
        order: _,
        steps: _,
        eps_after_clip: _,
        guidance_scale: _,
        guidance_interval: _,
        guidance_rescale: _,
        clip,
        clip_range,
        threshold_quantile,
        threshold_max,
        variance,
        spacing,
    } = *sampler;
    // With trailing spacing, the last of several steps starts above timestep 0, and diffusers adds the noise of
    // fixed_large to its result: a standard deviation of 10 gray levels in 50 steps. fixed_small is zero there.
    let variance = match (variance, spacing) {
        (ReverseVariance::FixedLarge, Spacing::Trailing) => ReverseVariance::FixedSmall,
        (variance, _) => variance,
    };
    let (clip_sample, thresholding) = match clip {
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
        "clip_sample_range": clip_range,
        "variance_type": variance_type(variance),
        "timestep_spacing": timestep_spacing(spacing),
        "rescale_betas_zero_snr": false,
        "steps_offset": 0,
        "thresholding": thresholding,
        "dynamic_thresholding_ratio": threshold_quantile,
        "sample_max_value": threshold_max,
        "trained_betas": Value::Null,
    });
    let invalid = |error: ScheduleError| DiffusersError::field(path, "diffusion", error.to_string());
    let rule = schedule.rule().map_err(invalid)?;
    match named_rule(&rule).filter(|_| !schedule.rescale_timesteps) {
        Some(NamedRule { name, beta_start, beta_end }) => {
            config["beta_schedule"] = name.into();
            config["beta_start"] = beta_start.into();
            config["beta_end"] = beta_end.into();
            config["rescale_betas_zero_snr"] = schedule.zero_terminal_snr.into();
        }
        None => config["trained_betas"] = schedule.build().map_err(invalid)?.betas().into(),
    }
    Ok(config)
}

/// A rule for β by its name in diffusers, with the parameters of the configuration.
struct NamedRule {
    name: &'static str,
    beta_start: f64,
    beta_end: f64,
}

/// The rule in diffusers' terms, or `None` if diffusers cannot compute these betas from a name.
fn named_rule(rule: &BetaSchedule) -> Option<NamedRule> {
    let (name, beta_start, beta_end) = match *rule {
        BetaSchedule::Linear { start, end } => (BetaScheduleName::Linear, start, end),
        BetaSchedule::ScaledLinear { start, end } => (BetaScheduleName::ScaledLinear, start, end),
        BetaSchedule::Quadratic { start, end } => (BetaScheduleName::Quadratic, start, end),
        BetaSchedule::Sigmoid { start, end } => (BetaScheduleName::Sigmoid, start, end),
        // diffusers has one cosine schedule, without parameters. It ignores the two limits, which have its defaults.
        BetaSchedule::Cosine { offset: 0.008, max_beta: 0.999 } => (BetaScheduleName::Cosine, 1e-4, 0.02),
        BetaSchedule::Cosine { .. } | BetaSchedule::Given { .. } => return None,
    };
    Some(NamedRule { name: beta_schedule(name)?, beta_start, beta_end })
}
