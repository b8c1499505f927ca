//! The configuration of a run: one TOML document, resolved from preset, file and flags.

use anyhow::Context;
use ddpm_checkpoint::SavedModel;
use ddpm_cli::usage;
use ddpm_data::DataConfig;
use ddpm_diffusion::SamplerConfig;
use ddpm_schedule::ScheduleConfig;
use ddpm_trainer::TrainConfig;
use ddpm_unet::NetworkConfig;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::args::Args;
use crate::config_tables::{TABLES, model, table};
use crate::diffusion_config::DiffusionConfig;
use crate::overlay::{merge, overlay};
use crate::presets;
use crate::sample_config::SampleConfig;

/// Everything a run depends on besides its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) model: NetworkConfig,
    pub(crate) diffusion: DiffusionConfig,
    pub(crate) data: DataConfig,
    pub(crate) train: TrainConfig,
    pub(crate) sample: SampleConfig,
}

impl RunConfig {
    /// The configuration that `args` ask for: the base, then `--config`, then flags and `--set`.
    ///
    /// The base is the preset; where none is named and `saved` holds the configuration of a run that is continued, it is
    /// that one. Of a new run that begins with `init` and names no preset, the network, the schedule and the sampler are that
    /// model's.
    pub(crate) fn resolve(args: &Args, saved: Option<&Table>, init: Option<&SavedModel>) -> anyhow::Result<Self> {
        let over = overlay(args)?;
        let mut document = match (&args.preset, saved) {
            (None, Some(saved)) => {
                if let Some(name) = TABLES.into_iter().find(|name| !saved.contains_key(*name)) {
                    return Err(usage(format!(
                        "config.toml of the run that goes on: expected a table [{name}], found none; it is damaged"
                    )));
                }
                saved.clone()
            }
            (preset, _) => {
                let name = preset.as_deref().unwrap_or_else(|| presets::default_name(&over));
                let text = presets::document(name).with_context(|| format!("no preset is named {name}"))?;
                let mut document: Table = text.parse().with_context(|| format!("preset {name}"))?;
                if let (None, Some(init)) = (preset, init) {
                    // The network and the schedule that its weights were trained with.
                    document.insert(TABLES[0].into(), Value::try_from(init.network::<NetworkConfig>()?)?);
                    let diffusion =
                        DiffusionConfig { schedule: init.diffusion()?, prediction: init.description.prediction };
                    let timesteps = diffusion.schedule.timesteps;
                    document.insert(TABLES[1].into(), Value::try_from(diffusion)?);
                    take_sampler(&mut document, init.sampler()?, timesteps)?;
                }
                document
            }
        };
        merge(&mut document, over);
        let config = Self::from_document(document)?;
        config.validate()?;
        if let (Some(init), None) = (init, saved) {
            config.warn_of_other_diffusion(init)?;
        }
        for field in config.diffusion.schedule.unused_fields() {
            tracing::warn!(
                "diffusion.{field} has no effect: the rule that diffusion.beta_schedule names does not read it"
            );
        }
        Ok(config)
    }

    /// Reads the document of a resolved configuration.
    pub(crate) fn from_document(mut document: Table) -> anyhow::Result<Self> {
        let config = Self {
            model: model(&mut document)?,
            diffusion: table(&mut document, TABLES[1])?,
            data: table(&mut document, TABLES[2])?,
            train: table(&mut document, TABLES[3])?,
            sample: table(&mut document, TABLES[4])?,
        };
        match document.keys().next() {
            Some(key) => Err(usage(format!("{key}: no such table; the tables are {}", TABLES.join(", ")))),
            None => Ok(config),
        }
    }

    /// Weights mean something else where they are told of another prediction or other noise than they were trained with.
    fn warn_of_other_diffusion(&self, init: &SavedModel) -> anyhow::Result<()> {
        let (own, trained) = (self.diffusion.prediction, init.description.prediction);
        if own != trained {
            tracing::warn!(
                "diffusion.prediction is {own:?}, and the model of --init was trained to predict {trained:?}: its network has to \
                 learn anew what it says; leave out --preset, or set diffusion.prediction"
            );
        }
        let trained: ScheduleConfig = init.diffusion()?;
        if self.diffusion.schedule.build().ok() != trained.build().ok() {
            tracing::warn!("[diffusion] is another schedule than the one that the model of --init was trained with");
        }
        Ok(())
    }

    /// Checks every table before anything is loaded.
    fn validate(&self) -> anyhow::Result<()> {
        self.model.validate().map_err(usage)?;
        let channels = self.model.channels();
        if let NetworkConfig::UNet2d(network) = &self.model {
            if network.out_channels != channels {
                let found = network.out_channels;
                return Err(usage(format!(
                    "model.out_channels: expected {channels} as model.in_channels, found {found}; a learnt variance can be \
                     sampled, not trained"
                )));
            }
            if network.num_class_embeds.is_some() || network.class_embed_type.is_some() {
                return Err(usage(
                    "model.num_class_embeds, model.class_embed_type: there are no classes to train with",
                ));
            }
        }
        if ![1, 3, 4].contains(&channels) {
            return Err(usage(format!("model.channels: images have 1, 3 or 4, found {channels}")));
        }
        let diffusion = self.diffusion.build().map_err(|error| usage(format!("diffusion: {error}")))?;
        self.data.validate().map_err(usage)?;
        self.train.validate().map_err(usage)?;
        self.check_batch()?;
        self.sample.validate(&diffusion).map_err(usage)
    }

    /// Whether the largest feature map of a batch can be held: an allocation that fails ends the process without a word.
    fn check_batch(&self) -> anyhow::Result<()> {
        // 16 GiB in f32.
        const MOST_VALUES: usize = 1 << 32;
        let (size, batch) = (self.model.image_size(), self.train.batch_size);
        // At least one image: validate() of the model has bounded it.
        let most = MOST_VALUES / self.model.largest_map();
        if batch > most {
            return Err(usage(format!(
                "train.batch_size: expected at most {most} with this network at model.image_size = {size}, found {batch}"
            )));
        }
        Ok(())
    }

    /// The document: `from_document` reads it back.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("could not write the configuration as TOML")
    }
}

/// Puts a model's sampler in place of that of the document; its previews take no more steps than there are.
fn take_sampler(document: &mut Table, own: SamplerConfig, timesteps: usize) -> anyhow::Result<()> {
    let Some(Value::Table(sample)) = document.get_mut(TABLES[4]) else { return Ok(()) };
    if let Value::Table(own) = Value::try_from(own)? {
        sample.extend(own);
    }
    if let Some(Value::Integer(steps)) = sample.get_mut("preview_steps") {
        *steps = (*steps).min(i64::try_from(timesteps)?);
    }
    Ok(())
}
