//! Reading the noise schedule of a scheduler.

use ddpm_schedule::{BetaScheduleName, MAX_TIMESTEPS, ScheduleConfig, ScheduleError};
use serde_json::Value;

use crate::error::Result;
use crate::json_document::JsonDocument;
use crate::option_names::beta_schedule;
use crate::scheduler_class::SchedulerClass;

/// Reads the noise schedule and checks that it can be built.
///
/// # Errors
/// [`DiffusersError::Field`](crate::DiffusersError::Field) naming the first field whose value is invalid.
pub(crate) fn read_schedule(document: &JsonDocument, class: SchedulerClass) -> Result<ScheduleConfig> {
    let mut config = ScheduleConfig::new(BetaScheduleName::Given, read_timesteps(document)?);
    if class != SchedulerClass::Heun {
        config.zero_terminal_snr = document.flag("rescale_betas_zero_snr", false)?;
    }
    match document.get("trained_betas") {
        Some(betas) => {
            let number = |beta: &Value| beta.as_f64().filter(|beta| beta.is_finite());
            let betas = betas.as_array().and_then(|betas| betas.iter().map(number).collect::<Option<Vec<_>>>());
            config.betas = Some(betas.ok_or_else(|| document.unexpected("trained_betas", "a list of numbers"))?);
        }
        None => read_beta_schedule(document, class, &mut config)?,
    }
    check_schedule(document, &config)?;
    Ok(config)
}

fn read_timesteps(document: &JsonDocument) -> Result<usize> {
    let timesteps = document.integer("num_train_timesteps", 1000)?;
    let timesteps = usize::try_from(timesteps).ok().filter(|timesteps| (1..=MAX_TIMESTEPS).contains(timesteps));
    let expected = || format!("a whole number from 1 to {MAX_TIMESTEPS}");
    timesteps.ok_or_else(|| document.unexpected("num_train_timesteps", &expected()))
}

/// Reads a rule for β and its parameters.
fn read_beta_schedule(document: &JsonDocument, class: SchedulerClass, config: &mut ScheduleConfig) -> Result<()> {
    let rules =
        [BetaScheduleName::Linear, BetaScheduleName::ScaledLinear, BetaScheduleName::Cosine, BetaScheduleName::Sigmoid];
    let names: Vec<_> = rules.into_iter().filter_map(|rule| Some((beta_schedule(rule)?, rule))).collect();
    config.beta_schedule = document.choice("beta_schedule", "linear", &names)?;
    if config.beta_schedule != BetaScheduleName::Cosine {
        // The defaults of HeunDiscreteScheduler are those of latent diffusion.
        let (start, end) = if class == SchedulerClass::Heun { (8.5e-4, 0.012) } else { (1e-4, 0.02) };
        config.beta_start = Some(document.number("beta_start", start)?);
        config.beta_end = Some(document.number("beta_end", end)?);
    }
    Ok(())
}

/// Checks that the schedule can be built. The error has diffusers' name of the field that is wrong.
fn check_schedule(document: &JsonDocument, config: &ScheduleConfig) -> Result<()> {
    let Err(error) = config.build() else { return Ok(()) };
    let field = match &error {
        ScheduleError::Parameter { name, .. } => name,
        ScheduleError::Decreasing { .. } => "beta_start",
        ScheduleError::ZeroTerminalSnr { .. } => "rescale_betas_zero_snr",
        _ if config.betas.is_some() => "trained_betas",
        _ => "beta_schedule",
    };
    Err(document.field_error(field, error.to_string()))
}
