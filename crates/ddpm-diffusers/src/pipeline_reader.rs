//! Reading a pipeline, or the directory of its UNet alone.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ddpm_checkpoint::{ModelDescription, SavedModel};
use ddpm_unet::NetworkConfig;

use crate::class_names::read_classes;
use crate::error::{DiffusersError, IoContext, Result};
use crate::json_document::JsonDocument;
use crate::layout::{INDEX_NAME, SCHEDULER_CONFIG_NAME, SCHEDULER_NAME, UNET_CONFIG_NAME, UNET_NAME, WEIGHTS_NAMES};
use crate::model_index::ModelIndex;
use crate::scheduler_reader::{Scheduler, read_scheduler};
use crate::unet_reader::read_unet;
use crate::weights_reader::read_weights;

/// Whether the directory is a pipeline of diffusers, or holds the configuration and the weights of a UNet.
pub fn is_pipeline(directory: impl AsRef<Path>) -> bool {
    let directory = directory.as_ref();
    let is_unet =
        || directory.join(UNET_CONFIG_NAME).is_file() && WEIGHTS_NAMES.iter().any(|name| directory.join(name).exists());
    directory.join(INDEX_NAME).is_file() || is_unet()
}

/// Reads the UNet of a pipeline with the noise schedule, the prediction and the default sampler of its scheduler.
///
/// A UNet without a scheduler gets those of Ho et al. 2020, and a warning is logged. The model's description holds a
/// [`NetworkConfig`], a [`ScheduleConfig`](ddpm_schedule::ScheduleConfig) and a
/// [`SamplerConfig`](ddpm_diffusion::SamplerConfig).
///
/// # Errors
/// [`DiffusersError::Field`] naming the file, the field and the value that is not supported;
/// [`DiffusersError::NotFound`] if the index names a scheduler that does not exist; [`DiffusersError::NoWeights`]; the
/// errors of reading JSON documents and tensors.
pub fn read_pipeline(directory: impl AsRef<Path>) -> Result<SavedModel> {
    read_pipeline_of_size(directory.as_ref(), None)
}

/// Reads a pipeline whose images have the size `size`, \[height, width\], if it states none.
pub(crate) fn read_pipeline_of_size(directory: &Path, size: Option<[usize; 2]>) -> Result<SavedModel> {
    let index = directory.join(INDEX_NAME);
    let index = if exists(&index)? { Some(ModelIndex::read(&index)?) } else { None };
    // The oldest pipelines have the files of all components in one directory, and diffusers still reads them.
    let component = Some(directory.join(UNET_NAME)).filter(|unet| index.is_some() && unet.is_dir());
    let unet_path = component.unwrap_or_else(|| directory.to_owned());
    let network_path = unet_path.join(UNET_CONFIG_NAME);
    let network = read_unet(&network_path, size)?;
    let Scheduler { schedule, prediction, sampler } = match &index {
        Some(index) => scheduler_of_pipeline(directory, index)?,
        None => scheduler_of_unet(directory)?,
    };
    let (path, tensors) = read_weights(&unet_path)?;
    let (channels, size) = (network.in_channels, [network.sample_size.height, network.sample_size.width]);
    let network = NetworkConfig::UNet2d(network);
    let description = ModelDescription::new(&network, &schedule, prediction, &sampler, channels, size, 0)?;
    let description = description.with_classes(read_classes(directory)?);
    Ok(SavedModel { description, tensors, path, network_path })
}

fn scheduler_of_pipeline(directory: &Path, index: &ModelIndex) -> Result<Scheduler> {
    let [component, beside] = [&directory.join(SCHEDULER_NAME), directory].map(|dir| dir.join(SCHEDULER_CONFIG_NAME));
    for path in [&component, &beside] {
        if exists(path)? {
            return read_scheduler(&JsonDocument::read(path)?, index.scheduler_class.as_deref());
        }
    }
    match index.scheduler_class {
        Some(_) => Err(DiffusersError::NotFound { path: component }),
        None => default_scheduler(&component),
    }
}

fn scheduler_of_unet(directory: &Path) -> Result<Scheduler> {
    let path = directory.join(SCHEDULER_CONFIG_NAME);
    if exists(&path)? { read_scheduler(&JsonDocument::read(&path)?, None) } else { default_scheduler(&path) }
}

/// The scheduler of Ho et al. 2020, in place of the file `path`, which does not exist.
fn default_scheduler(path: &Path) -> Result<Scheduler> {
    tracing::warn!(
        "{} is missing; assuming linear beta from 1e-4 to 0.02 in 1000 steps, a network that predicts epsilon, \
         and ddpm sampling with clipping, as of Ho et al. 2020",
        path.display()
    );
    read_scheduler(&JsonDocument::empty(path), None)
}

/// Whether something exists at the path. An error other than absence is reported.
fn exists(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error).on("access", path),
    }
}
