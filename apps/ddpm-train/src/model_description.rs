//! The description that a model file of a run contains.

use ddpm_checkpoint::ModelDescription;
use ddpm_trainer::TrainerError;

use crate::run_config::RunConfig;

/// Describes the model of a run after `step` optimizer steps: network, diffusion process, sampler and image shape.
pub(crate) fn describe_model(config: &RunConfig, step: u64) -> Result<ModelDescription, TrainerError> {
    let (network, size) = (&config.model, config.model.image_size());
    let (schedule, prediction) = (&config.diffusion.schedule, config.diffusion.prediction);
    let (sampler, channels) = (config.sample.sampler, network.channels());
    let size = [size.height, size.width];
    Ok(ModelDescription::new(network, schedule, prediction, &sampler, channels, size, step)?)
}
