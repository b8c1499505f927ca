//! Models of the Hugging Face Hub.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_cli::{Progress, Transfer, usage};
use ddpm_hub::{Hub, HubConfig, RepoId, Watch};

/// The path of the model that was typed: one that is there, else that of a model of the Hub, downloaded.
pub(crate) fn model(given: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let id = given.to_str().filter(|_| !given.exists()).and_then(|text| text.parse::<RepoId>().ok());
    let Some(id) = id else { return Ok(given.to_owned()) };
    let found = HubConfig::from_env().and_then(|config| Hub::new(config).model(&id, &Bar(Transfer::new(progress))));
    found
        .map_err(|error| if error.is_usage() { usage(error) } else { error.into() })
        .with_context(|| format!("MODEL {}: no such path, so a model of the Hub", given.display()))
}

/// The bar of a download.
struct Bar(Transfer);

impl Watch for Bar {
    fn begin(&self, what: &str, bytes: u64) {
        self.0.begin(what, bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.advance(bytes);
    }

    fn end(&self) {
        self.0.end();
    }
}
