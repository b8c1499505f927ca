//! Replaces `hub.rs` in a program that was built without the feature `hub`: every use of the Hub is an error.

use std::path::Path;
use std::sync::Arc;

use ddpm_cli::{Progress, usage_error};
use ddpm_data::{DataConfig, DataError, ImageSource};

use crate::dataset_prefix::{CANDLE, NO_CANDLE_DATASETS, is_dataset_name};
use crate::run_config::RunConfig;

const NO_HUB: &str = "this program was built without the feature `hub` and cannot use the Hugging Face Hub";

/// Whether `data.path` names a dataset of the Hub.
pub(crate) fn is_dataset(path: &str) -> bool {
    is_dataset_name(path) && !Path::new(path).exists()
}

/// The end of an error message about a `data.path` that does not exist: nothing.
pub(crate) fn dataset_hint(_: &str) -> String {
    String::new()
}

/// Refuses datasets of the Hub.
pub(crate) fn pin_dataset(data: &mut DataConfig, _: Option<&str>) -> anyhow::Result<()> {
    if !is_dataset(&data.path) {
        return Ok(());
    }
    let path = &data.path;
    let reason = if path.starts_with(CANDLE) { NO_CANDLE_DATASETS } else { NO_HUB };
    Err(usage_error(format!("data.path: {path}: {reason}")))
}

/// Opens the training images.
pub(crate) fn open_images(config: &DataConfig, _: &Progress) -> anyhow::Result<Arc<dyn ImageSource>> {
    ddpm_data::open(config).map_err(|error| match error {
        DataError::Empty { .. } => usage_error(error),
        _ => anyhow::Error::new(error).context("the training data"),
    })
}

/// The upload that `--push-to-hub` requests. It cannot be created.
#[derive(Debug)]
pub(crate) enum Upload {}

impl Upload {
    /// Refuses the upload.
    pub(crate) fn new(_: &str, _: bool, _: &RunConfig) -> anyhow::Result<Self> {
        Err(usage_error(format!("--push-to-hub: {NO_HUB}")))
    }

    /// Cannot be called.
    pub(crate) fn send(&self, _: &Path, _: u64, _: &Progress) -> anyhow::Result<()> {
        match *self {}
    }
}
