//! The description that a model file of a run contains.

use ddpm_checkpoint::ModelDescription;
use ddpm_data::Preparation;
use ddpm_trainer::TrainerError;

use crate::run_classes::RunClasses;
use crate::run_config::RunConfig;

/// Describes the model of a run after `step` optimizer steps: network, diffusion process, sampler, image shape,
/// classes and how images get their size.
pub(crate) fn describe_model(
    config: &RunConfig,
    classes: Option<&RunClasses>,
    step: u64,
) -> Result<ModelDescription, TrainerError> {
    let (network, size) = (&config.model, config.model.image_size());
    let (schedule, prediction) = (&config.diffusion.schedule, config.diffusion.prediction);
    let (sampler, channels) = (config.sample.sampler, network.channels());
    let size = [size.height, size.width];
    let description = ModelDescription::new(network, schedule, prediction, &sampler, channels, size, step)?;
    let description =
        description.with_classes(classes.map(|classes| classes.descriptions().to_vec()).unwrap_or_default());
    let description = description.with_ema_decay(config.train.ema_decay.first());
    Ok(description.with_image_preparation(&Preparation::of(&config.data))?)
}
