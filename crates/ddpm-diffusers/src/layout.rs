//! The names of the files and directories of a pipeline.

/// The index of a pipeline, which lists its components.
pub(crate) const INDEX_NAME: &str = "model_index.json";
/// The component of the network: its directory, and its entry in the index.
pub(crate) const UNET_NAME: &str = "unet";
/// The component of the scheduler: its directory, and its entry in the index.
pub(crate) const SCHEDULER_NAME: &str = "scheduler";
/// The configuration of a network, in the directory of the network.
pub(crate) const UNET_CONFIG_NAME: &str = "config.json";
/// The configuration of a scheduler, in the directory of the scheduler.
pub(crate) const SCHEDULER_CONFIG_NAME: &str = "scheduler_config.json";
/// The weights of a network in one safetensors file.
pub(crate) const WEIGHTS_NAME: &str = "diffusion_pytorch_model.safetensors";
/// The index of weights that are split over several safetensors files.
pub(crate) const WEIGHTS_INDEX_NAME: &str = "diffusion_pytorch_model.safetensors.index.json";
/// The weights of a network in one file of `torch.save`.
pub(crate) const PICKLE_NAME: &str = "diffusion_pytorch_model.bin";
/// The index of weights that are split over several files of `torch.save`.
pub(crate) const PICKLE_INDEX_NAME: &str = "diffusion_pytorch_model.bin.index.json";
/// The classes of a class-conditional network, a file of this workspace that diffusers ignores.
pub(crate) const CLASSES_NAME: &str = "classes.json";
/// The model card.
pub(crate) const CARD_NAME: &str = "README.md";

/// The files that can hold the weights of a network or list them, in order of preference.
pub(crate) const WEIGHTS_NAMES: [&str; 4] = [WEIGHTS_NAME, WEIGHTS_INDEX_NAME, PICKLE_NAME, PICKLE_INDEX_NAME];
