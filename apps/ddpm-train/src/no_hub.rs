//! What the Hugging Face Hub would do in a program that was built without the feature `hub`: a message says so.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use ddpm_cli::{Progress, usage};
use ddpm_data::{DataConfig, ImageSource};

use crate::run_config::RunConfig;

const WITHOUT: &str = "this program was built without the feature `hub`: it does not reach the Hugging Face Hub";

/// Whether `data.path` names a dataset of the Hub.
pub(crate) fn is_dataset(path: &str) -> bool {
    ["hub:", "candle:"].iter().any(|prefix| path.starts_with(prefix)) && !Path::new(path).exists()
}

/// What may have been meant by a `data.path` where nothing is: nothing that this program knows.
pub(crate) fn hint(_: &str) -> String {
    String::new()
}

/// Refuses datasets of the Hub.
pub(crate) fn pin(data: &mut DataConfig, _: Option<&str>) -> anyhow::Result<()> {
    if !is_dataset(&data.path) {
        return Ok(());
    }
    if data.path.starts_with("candle:") {
        let build = "build it with `cargo build -p ddpm-train --features candle-datasets`";
        let path = &data.path;
        return Err(usage(format!(
            "data.path: {path}: this program was built without the feature `candle-datasets`: {build}"
        )));
    }
    Err(usage(format!("data.path: {WITHOUT}")))
}

/// Opens the images of a configuration.
pub(crate) fn open(config: &DataConfig, _: &Progress) -> anyhow::Result<Arc<dyn ImageSource>> {
    ddpm_data::open(config).context("the training data")
}

/// No upload: there is never one.
#[derive(Debug)]
pub(crate) enum Push {}

impl Push {
    /// Refuses.
    pub(crate) fn new(_: &str, _: &RunConfig) -> anyhow::Result<Self> {
        Err(usage(format!("--push-to-hub: {WITHOUT}")))
    }

    /// Never called.
    pub(crate) fn send(&self, _: &Path, _: u64, _: &Progress) -> anyhow::Result<()> {
        match *self {}
    }
}
