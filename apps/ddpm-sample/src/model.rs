//! Finds, loads and checks the model to sample from.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use candle_core::{Device, Tensor};
use ddpm_checkpoint::{SavedModel, newest_run};
use ddpm_cli::{Progress, pluralize, usage_error};
use ddpm_data::Preparation;
use ddpm_diffusers::find_model_of_size;
use ddpm_diffusion::{GaussianDiffusion, SamplerConfig};
use ddpm_schedule::ScheduleConfig;
use ddpm_unet::{ImageSize, Network, NetworkConfig, Precision};
use tracing::info;

use crate::checkpoint_choice::CheckpointChoice;
use crate::sampler_description::describe_sampler;
use crate::weight_choice::WeightChoice;

/// A model whose network, diffusion process and sampler are consistent.
#[derive(Debug)]
pub(crate) struct LoadedModel {
    pub(crate) saved: SavedModel,
    pub(crate) network: NetworkConfig,
    pub(crate) diffusion: GaussianDiffusion,
    /// The configuration of its noise schedule.
    schedule: ScheduleConfig,
    /// The sampler that the model was saved with.
    pub(crate) sampler: SamplerConfig,
}

impl LoadedModel {
    /// Loads the model at `path`, or that of the newest run, of the checkpoint `checkpoint`. `size` is the size of its
    /// images if it states none.
    ///
    /// # Errors
    /// When there is no such model, or its parts contradict each other.
    pub(crate) fn load(
        path: Option<&Path>,
        checkpoint: Option<CheckpointChoice>,
        size: Option<ImageSize>,
        progress: &Progress,
    ) -> anyhow::Result<Self> {
        let path = model_path(path, progress)?;
        let path = match checkpoint {
            Some(checkpoint) => checkpoint.find(path)?,
            None => path,
        };
        let model = Self::read("MODEL", path, size)?;
        log_defaults(&model);
        Ok(model)
    }

    /// The same model with other weights of its run.
    ///
    /// # Errors
    /// When the run or its checkpoint does not have them, or they cannot be read.
    pub(crate) fn with_weights(mut self, choice: WeightChoice) -> anyhow::Result<Self> {
        if let Some(tensors) = choice.read(&self.saved)? {
            self.saved.tensors = tensors;
            self.check_names()?;
        }
        Ok(self)
    }

    /// Checks that the tensors are those of the network.
    fn check_names(&self) -> anyhow::Result<()> {
        let parameters = self.network.parameters()?;
        Ok(self.saved.check_names(&parameters.into_iter().map(|(name, spec)| (name, spec.shape)).collect())?)
    }

    /// Loads the model at `path`, the value of `option`.
    ///
    /// # Errors
    /// Those of [`LoadedModel::load`].
    pub(crate) fn read(option: &str, path: PathBuf, size: Option<ImageSize>) -> anyhow::Result<Self> {
        let given = size.map(|ImageSize { height, width }| [height, width]);
        let saved = find_model_of_size(path, given).map_err(|error| match error.is_not_found() {
            true => usage_error(format!("{option}: {error}")),
            false => error.into(),
        })?;
        let own = saved.description.image_size;
        if let Some(given) = given.filter(|given| *given != own) {
            let [[height, width], [given_height, given_width]] = [own, given];
            return Err(usage_error(format!(
                "--image-size: expected {height}x{width}, the size of the model, found {given_height}x{given_width}; \
                 the option is for pipelines that state no size"
            )));
        }
        let file = saved.path.display().to_string();
        let network: NetworkConfig = saved.network()?;
        let schedule: ScheduleConfig = saved.diffusion()?;
        let parameters = network.parameters().with_context(|| format!("{file}: field `network`"))?;
        check_description(&saved, &network)?;
        saved.check_names(&parameters.into_iter().map(|(name, spec)| (name, spec.shape)).collect())?;
        let sampler: SamplerConfig = saved.sampler()?;
        let built = schedule.build().with_context(|| format!("{file}: field `diffusion`"))?;
        let diffusion = GaussianDiffusion::new(built).with_prediction(saved.description.prediction);
        Ok(Self { saved, network, diffusion, schedule, sampler })
    }

    /// The file or directory of the model, for messages.
    pub(crate) fn path(&self) -> &Path {
        &self.saved.path
    }

    /// How images are prepared for the model, as in its training.
    pub(crate) fn preparation(&self) -> anyhow::Result<Preparation> {
        Ok(self.saved.description.image_preparation(&self.saved.path)?)
    }

    /// [channel, height, width].
    pub(crate) fn image_shape(&self) -> [usize; 3] {
        let [height, width] = self.saved.description.image_size;
        [self.saved.description.channels, height, width]
    }

    /// The network with the weights of the model, on `device`.
    pub(crate) fn build_network(&self, device: &Device, precision: Precision) -> anyhow::Result<Network> {
        let on_device = |(name, tensor): (&String, &Tensor)| Ok((name.clone(), tensor.to_device(device)?));
        let weights: BTreeMap<String, Tensor> =
            self.saved.tensors.iter().map(on_device).collect::<anyhow::Result<_>>()?;
        let network =
            Network::from_tensors(&self.network, &weights).with_context(|| self.path().display().to_string())?;
        Ok(network.with_precision(precision).with_packed_weights())
    }
}

fn model_path(path: Option<&Path>, progress: &Progress) -> anyhow::Result<PathBuf> {
    match path {
        Some(path) => ddpm_cli::resolve_model_path("MODEL", path, progress),
        None => newest_run("runs")?.ok_or_else(|| {
            usage_error("no MODEL given, and no run with a checkpoint under runs/; train one with ddpm-train")
        }),
    }
}

/// Checks that the description of the model agrees with its network: the images get the shape of the description.
fn check_description(model: &SavedModel, network: &NetworkConfig) -> anyhow::Result<()> {
    let (description, size) = (&model.description, network.image_size());
    let size = [size.height, size.width];
    let wrong = |field: &str, expected: String, found: String| {
        let file = model.path.display();
        Err(anyhow::anyhow!("{file}: field `{field}`: expected {expected}, found {found}"))
    };
    if description.channels != network.channels() {
        let (expected, found) = (network.channels(), description.channels);
        return wrong("channels", format!("{expected} as in the network"), found.to_string());
    }
    if description.image_size != size {
        let found = description.image_size;
        return wrong("image_size", format!("{size:?} as in the network"), format!("{found:?}"));
    }
    if description.data_range != [-1.0, 1.0] {
        let found = description.data_range;
        return wrong("data_range", "[-1, 1], the only range that is supported".into(), format!("{found:?}"));
    }
    Ok(())
}

/// Logs the sampler and the diffusion process that the model was saved with, in one line.
fn log_defaults(model: &LoadedModel) {
    let schedule = &model.schedule;
    let zero = if schedule.zero_terminal_snr { ", zero terminal SNR" } else { "" };
    info!(
        "the model's own sampler: {}; it predicts {}; schedule {}, {}{zero}",
        describe_sampler(&model.sampler),
        model.saved.description.prediction,
        schedule.beta_schedule,
        pluralize(schedule.timesteps, "step")
    );
}
