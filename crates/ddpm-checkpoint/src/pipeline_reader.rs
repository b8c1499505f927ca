//! Directories as the Python library diffusers writes them: a pipeline, or its UNet alone.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use crate::description::ModelDescription;
use crate::error::{CheckpointError, IoContext, Result};
use crate::fields::Fields;
use crate::model_file::SavedModel;
use crate::pipeline_index::PipelineIndex;
use crate::pipeline_weights::{NAMES, weights};
use crate::scheduler_reader::{Scheduler, scheduler};
use crate::unet_reader::unet;

pub(crate) const INDEX_NAME: &str = "model_index.json";
pub(crate) const UNET_NAME: &str = "unet";
pub(crate) const SCHEDULER_NAME: &str = "scheduler";
pub(crate) const CONFIG_NAME: &str = "config.json";
pub(crate) const SCHEDULER_CONFIG_NAME: &str = "scheduler_config.json";

/// Whether diffusers wrote that directory.
pub(crate) fn is_diffusers(directory: &Path) -> bool {
    let unet_alone = directory.join(CONFIG_NAME).is_file() && NAMES.iter().any(|name| directory.join(name).exists());
    directory.join(INDEX_NAME).is_file() || unet_alone
}

/// Loads the UNet of a pipeline, with the schedule and the sampler that its scheduler stands for; of a UNet alone those of Ho
/// et al. 2020, which a warning says.
///
/// # Errors
/// [`CheckpointError::WrongField`] naming the file, the field and the value that is not supported;
/// [`CheckpointError::NotFound`] where the index names a scheduler and there is none; [`CheckpointError::NoWeights`]; those of
/// [`read_tensors`](crate::read_tensors).
pub(crate) fn load_diffusers(directory: &Path) -> Result<SavedModel> {
    let index = directory.join(INDEX_NAME);
    let index = if is_there(&index)? { Some(PipelineIndex::read(&index)?) } else { None };
    // The first pipelines have all their parts in one directory, and diffusers reads them still.
    let part = |name: &str| Some(directory.join(name)).filter(|part| part.is_dir());
    let unet_path = part(UNET_NAME).filter(|_| index.is_some()).unwrap_or_else(|| directory.to_owned());
    let network_path = unet_path.join(CONFIG_NAME);
    let network = unet(&network_path)?;
    let Scheduler { diffusion, prediction, sampler } = match &index {
        Some(index) => of_pipeline(directory, index)?,
        None => of_unet_alone(directory)?,
    };
    let (path, tensors) = weights(&unet_path)?;
    let (channels, size) = (network.in_channels, network.sample_size);
    let mut kind = serde_json::to_value(&network).unwrap_or_default();
    kind["kind"] = "unet2d".into();
    let size = [size.height, size.width];
    let description = ModelDescription::new(&kind, &diffusion, prediction, &sampler, channels, size, 0)?;
    Ok(SavedModel { description, tensors, path, network_path })
}

/// The scheduler of a pipeline.
fn of_pipeline(directory: &Path, index: &PipelineIndex) -> Result<Scheduler> {
    let [inside, beside] = [&directory.join(SCHEDULER_NAME), directory].map(|part| part.join(SCHEDULER_CONFIG_NAME));
    for path in [&inside, &beside] {
        if is_there(path)? {
            return scheduler(&Fields::read(path)?, index.scheduler.as_deref());
        }
    }
    match index.scheduler {
        Some(_) => Err(CheckpointError::NotFound { path: inside }),
        None => assumed(&inside),
    }
}

/// That of a UNet, which has none unless it lies beside it.
fn of_unet_alone(directory: &Path) -> Result<Scheduler> {
    let path = directory.join(SCHEDULER_CONFIG_NAME);
    if is_there(&path)? { scheduler(&Fields::read(&path)?, None) } else { assumed(&path) }
}

/// The scheduler where there is no document of one.
fn assumed(path: &Path) -> Result<Scheduler> {
    tracing::warn!(
        "{} is not there: assumed are beta linear from 1e-4 to 0.02 in 1000 steps, a network that predicts epsilon, and ddpm \
         sampling with clipping, as of Ho et al. 2020",
        path.display()
    );
    scheduler(&Fields::none(path), None)
}

/// Whether something has that path. What may not be looked at is not taken for absent.
fn is_there(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).on("look at", path),
    }
}
