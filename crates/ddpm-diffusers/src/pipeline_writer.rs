//! Writing a pipeline that diffusers loads with `DDPMPipeline.from_pretrained(PATH)`.

use std::fs;
use std::path::Path;

use ddpm_checkpoint::{ModelDescription, Tensors, write_atomically, write_tensors};
use ddpm_diffusion::SamplerConfig;
use ddpm_schedule::ScheduleConfig;
use ddpm_unet::NetworkConfig;
use serde_json::{Value, json};

use crate::class_names::write_classes;
use crate::error::{DiffusersError, IoContext, Result};
use crate::layout::{
    CARD_NAME, INDEX_NAME, SCHEDULER_CONFIG_NAME, SCHEDULER_NAME, UNET_CONFIG_NAME, UNET_NAME, WEIGHTS_NAME,
};
use crate::model_card::model_card;
use crate::scheduler_writer::scheduler_config;
use crate::unet_writer::unet_config;
use crate::version::DIFFUSERS_VERSION;

/// Writes a model of kind `unet2d` as a pipeline: `unet/`, `scheduler/`, a model card and `model_index.json`, and
/// `classes.json` if the model has classes.
///
/// Each file is written atomically. The index is written last, so that a directory with an index is complete.
///
/// # Errors
/// [`DiffusersError::Field`] if the network is of another kind or the noise schedule cannot be built;
/// [`CheckpointError::WrongField`](ddpm_checkpoint::CheckpointError::WrongField) if the description does not hold a
/// [`NetworkConfig`], a [`ScheduleConfig`] and a [`SamplerConfig`]; the errors of [`write_tensors`];
/// [`DiffusersError::Io`].
pub fn write_pipeline(directory: impl AsRef<Path>, description: &ModelDescription, tensors: &Tensors) -> Result<()> {
    let directory = directory.as_ref();
    let [unet, scheduler] = [UNET_NAME, SCHEDULER_NAME].map(|name| directory.join(name));
    let unet_config_path = unet.join(UNET_CONFIG_NAME);
    let scheduler_config_path = scheduler.join(SCHEDULER_CONFIG_NAME);
    // All configurations are converted before the first file is written.
    let unet_config = convert_network(description, &unet_config_path)?;
    let scheduler_config = convert_scheduler(description, &scheduler_config_path)?;
    for component in [&unet, &scheduler] {
        fs::create_dir_all(component).on("create directory", component)?;
    }
    write_tensors(unet.join(WEIGHTS_NAME), tensors)?;
    write_json(&unet_config_path, &unet_config)?;
    write_json(&scheduler_config_path, &scheduler_config)?;
    write_atomically(&directory.join(CARD_NAME), |out| out.write_all(model_card(description).as_bytes()))?;
    write_classes(directory, &description.classes)?;
    let index = json!({
        "_class_name": "DDPMPipeline",
        "_diffusers_version": DIFFUSERS_VERSION,
        "scheduler": ["diffusers", "DDPMScheduler"],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_json(&directory.join(INDEX_NAME), &index)
}

fn convert_network(description: &ModelDescription, path: &Path) -> Result<Value> {
    match description.network(path)? {
        NetworkConfig::UNet2d(network) => unet_config(&network, path),
        other => {
            let problem = format!("expected kind unet2d, found {}: diffusers has no such network", other.kind());
            Err(DiffusersError::field(path, "network", problem))
        }
    }
}

fn convert_scheduler(description: &ModelDescription, path: &Path) -> Result<Value> {
    let schedule: ScheduleConfig = description.diffusion(path)?;
    let sampler: SamplerConfig = description.sampler(path)?;
    scheduler_config(&schedule, description.prediction, &sampler, path)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    Ok(write_atomically(path, |out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        out.write_all(b"\n")
    })?)
}
