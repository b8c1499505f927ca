//! The configuration of a run, as one TOML document holds it.

use anyhow::Context;
use ddpm_cli::usage_error;
use ddpm_data::DataConfig;
use ddpm_trainer::TrainConfig;
use ddpm_unet::NetworkConfig;
use serde::{Deserialize, Serialize};
use toml::Table;

use crate::config_table::ConfigTable;
use crate::diffusion_config::DiffusionConfig;
use crate::sample_config::SampleConfig;
use crate::table_reader::{take_model, take_table};

/// Everything that a run depends on besides its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunConfig {
    pub(crate) model: NetworkConfig,
    pub(crate) diffusion: DiffusionConfig,
    pub(crate) data: DataConfig,
    pub(crate) train: TrainConfig,
    pub(crate) sample: SampleConfig,
}

impl RunConfig {
    /// Whether diffusers has a network like that of the run, so that its results include a pipeline.
    pub(crate) fn has_pipeline(&self) -> bool {
        matches!(self.model, NetworkConfig::UNet2d(_))
    }

    /// Reads a complete document.
    ///
    /// # Errors
    /// When a key is missing, unknown, or has a value of another type.
    pub(crate) fn from_document(mut document: Table) -> anyhow::Result<Self> {
        let config = Self {
            model: take_model(&mut document)?,
            diffusion: take_table(&mut document, ConfigTable::Diffusion)?,
            data: take_table(&mut document, ConfigTable::Data)?,
            train: take_table(&mut document, ConfigTable::Train)?,
            sample: take_table(&mut document, ConfigTable::Sample)?,
        };
        match document.keys().next() {
            Some(key) => Err(usage_error(format!("{key}: no such table; the tables are {}", ConfigTable::list()))),
            None => Ok(config),
        }
    }

    /// The document, which [`RunConfig::from_document`] reads back.
    pub(crate) fn to_toml(&self) -> anyhow::Result<String> {
        toml::to_string(self).context("the configuration cannot be written as TOML")
    }

    /// Checks all values, before anything is loaded.
    ///
    /// # Errors
    /// The first value that no run can have, with its key.
    pub(crate) fn validate(&self) -> anyhow::Result<()> {
        self.model.validate().map_err(usage_error)?;
        self.check_trainable()?;
        let diffusion = self.diffusion.build().map_err(|error| usage_error(format!("diffusion: {error}")))?;
        self.data.validate().map_err(usage_error)?;
        self.train.validate().map_err(usage_error)?;
        self.check_batch_size()?;
        self.sample.validate(&diffusion).map_err(usage_error)
    }

    /// Checks what training requires of the network, besides what sampling requires.
    fn check_trainable(&self) -> anyhow::Result<()> {
        let channels = self.model.channels();
        if let NetworkConfig::UNet2d(network) = &self.model
            && network.out_channels != channels
        {
            let found = network.out_channels;
            return Err(usage_error(format!(
                "model.out_channels: expected {channels} as model.in_channels, found {found}; a learned variance can \
                 be sampled, not trained"
            )));
        }
        if ![1, 3, 4].contains(&channels) {
            return Err(usage_error(format!(
                "model.channels: expected 1, 3 or 4, the channels of an image, found {channels}"
            )));
        }
        Ok(())
    }

    /// Checks that the largest feature map of a batch stays below 16 GiB: the process is killed without a message if
    /// the system has no memory for an allocation.
    fn check_batch_size(&self) -> anyhow::Result<()> {
        const MAX_VALUES: usize = 1 << 32;
        let (size, batch_size) = (self.model.image_size(), self.train.batch_size);
        // The validation of the model keeps the feature map of one image below this bound.
        let most = MAX_VALUES / self.model.largest_map();
        if batch_size > most {
            return Err(usage_error(format!(
                "train.batch_size: expected at most {most} with this network at model.image_size = {size}, found \
                 {batch_size}"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presets;

    /// Damaged documents are read or refused. `DDPM_FUZZ_SECONDS` sets the time.
    #[test]
    fn fuzz_configuration() {
        let seeds = presets::names().map(|name| presets::document(name).unwrap_or_default().as_bytes().to_vec());
        ddpm_testkit::fuzz("configuration", &seeds, |input| {
            let Ok(document) = String::from_utf8_lossy(input).parse::<Table>() else { return };
            let Ok(config) = RunConfig::from_document(document) else { return };
            if config.validate().is_ok() {
                let text = config.to_toml().expect("a valid configuration can be written");
                let again = text.parse().ok().and_then(|document| RunConfig::from_document(document).ok());
                assert_eq!(again, Some(config), "{text}");
            }
        });
    }
}
