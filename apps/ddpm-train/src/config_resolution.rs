//! Resolves the configuration of a run from preset, saved run, model, file and options.

use anyhow::Context;
use ddpm_checkpoint::SavedModel;
use ddpm_cli::usage_error;
use ddpm_diffusion::SamplerConfig;
use ddpm_schedule::ScheduleConfig;
use ddpm_unet::NetworkConfig;
use toml::{Table, Value};
use tracing::warn;

use crate::args::Args;
use crate::config_document::{merge, read_document, with_implied_keys};
use crate::config_table::ConfigTable;
use crate::diffusion_config::DiffusionConfig;
use crate::overrides::overrides;
use crate::presets;
use crate::run_config::RunConfig;

/// The configuration that `args` specify: a base, overridden by `--config`, by options and by `--set`, in this order.
///
/// The base is the preset that `args` name. If they name none, it is `saved`, the configuration of the run that is
/// continued. For a new run it is the default preset, with the network, the diffusion process and the sampler of the
/// model `init`.
///
/// # Errors
/// When a document cannot be read, or a value is invalid.
pub(crate) fn resolve_config(
    args: &Args,
    saved: Option<&Table>,
    init: Option<&SavedModel>,
) -> anyhow::Result<RunConfig> {
    let overrides = overrides(args)?;
    let mut document = match (&args.preset, saved) {
        (None, Some(saved)) => with_implied_keys(complete(saved)?),
        (Some(preset), _) => preset_document(preset)?,
        (None, None) => {
            let mut document = preset_document(presets::default_name(&overrides))?;
            if let Some(init) = init {
                take_model_settings(&mut document, init)?;
            }
            document
        }
    };
    merge(&mut document, overrides);
    name_image_size(&mut document);
    let config = checked(document).map_err(|error| name_config_file(error, args))?;
    if let (Some(init), None) = (init, saved) {
        warn_of_other_diffusion(&config, init)?;
    }
    for field in config.diffusion.schedule.unused_fields() {
        warn!("diffusion.{field} has no effect with this value of diffusion.beta_schedule");
    }
    Ok(config)
}

/// Puts the name of the configuration file before an error that the file alone causes.
fn name_config_file(error: anyhow::Error, args: &Args) -> anyhow::Error {
    let Some(path) = &args.config else { return error };
    let alone = || -> anyhow::Result<RunConfig> {
        let file = read_document(path)?;
        let mut document = preset_document(args.preset.as_deref().unwrap_or_else(|| presets::default_name(&file)))?;
        merge(&mut document, file);
        name_image_size(&mut document);
        checked(document)
    };
    match alone() {
        Err(of_file) if of_file.to_string() == error.to_string() => {
            usage_error(format!("{}: {of_file:#}", path.display()))
        }
        _ => error,
    }
}

fn checked(document: Table) -> anyhow::Result<RunConfig> {
    let config = RunConfig::from_document(document)?;
    config.validate()?;
    Ok(config)
}

/// Gives `model.image_size`, which `--image-size` sets, the name that it has in a `unet2d`, diffusers' `sample_size`.
fn name_image_size(document: &mut Table) {
    let Some(Value::Table(model)) = document.get_mut(ConfigTable::Model.name()) else { return };
    if model.get("kind").and_then(Value::as_str) == Some("unet2d")
        && let Some(size) = model.remove("image_size")
    {
        model.insert("sample_size".into(), size);
    }
}

/// The saved configuration, if it has all tables.
fn complete(saved: &Table) -> anyhow::Result<Table> {
    match ConfigTable::ALL.iter().find(|table| !saved.contains_key(table.name())) {
        None => Ok(saved.clone()),
        Some(table) => Err(usage_error(format!(
            "config.toml of the resumed run: expected a table [{}], found none; the file is damaged",
            table.name()
        ))),
    }
}

fn preset_document(name: &str) -> anyhow::Result<Table> {
    let text = presets::document(name).with_context(|| format!("no preset is named {name}"))?;
    text.parse().with_context(|| format!("preset {name}"))
}

/// Replaces the network, the diffusion process and the sampler of the document by those of a model.
fn take_model_settings(document: &mut Table, init: &SavedModel) -> anyhow::Result<()> {
    let network = init.network::<NetworkConfig>()?;
    let diffusion = DiffusionConfig { schedule: init.diffusion()?, prediction: init.description.prediction };
    let timesteps = diffusion.schedule.timesteps;
    document.insert(ConfigTable::Model.name().into(), Value::try_from(network)?);
    document.insert(ConfigTable::Diffusion.name().into(), Value::try_from(diffusion)?);
    take_sampler(document, init.sampler()?, timesteps)
}

/// Number of preview steps of a sampler other than the presets' own, which needs fewer.
const PREVIEW_STEPS: usize = 100;

/// Replaces the sampler of the document. Previews take at most `timesteps` steps.
fn take_sampler(document: &mut Table, sampler: SamplerConfig, timesteps: usize) -> anyhow::Result<()> {
    let Some(Value::Table(sample)) = document.get_mut(ConfigTable::Sample.name()) else { return Ok(()) };
    if let Value::Table(sampler) = Value::try_from(sampler)? {
        sample.extend(sampler);
    }
    if let Some(Value::Integer(steps)) = sample.get_mut("preview_steps") {
        let wanted = if sampler.method.is_dpm_solver() { *steps } else { PREVIEW_STEPS.try_into()? };
        *steps = wanted.min(i64::try_from(timesteps)?);
    }
    Ok(())
}

/// Warns if the weights of `init` were trained with another prediction type or another noise schedule.
fn warn_of_other_diffusion(config: &RunConfig, init: &SavedModel) -> anyhow::Result<()> {
    let (prediction, trained) = (config.diffusion.prediction, init.description.prediction);
    if prediction != trained {
        warn!(
            "diffusion.prediction is {prediction}, but the model of --init was trained to predict {trained}: its \
             output layers have to be trained anew; leave out --preset, or set diffusion.prediction"
        );
    }
    let trained: ScheduleConfig = init.diffusion()?;
    if config.diffusion.schedule.build().ok() != trained.build().ok() {
        warn!("[diffusion] is another noise schedule than the one that the model of --init was trained with");
    }
    Ok(())
}
