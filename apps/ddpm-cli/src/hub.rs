//! Models that are named on the command line and may be those of the Hugging Face Hub.

use std::path::{Path, PathBuf};

use anyhow::Context;
use ddpm_hub::{Hub, HubConfig, HubError, RepoId};

use crate::{Progress, Transfer, usage};

/// The path of the model that was typed as `what`: one that is there, else that of a model of the Hub, downloaded.
///
/// # Errors
/// When there is no such path and the Hub does not give such a model either.
pub fn model_path(what: &str, given: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let id = given.to_str().filter(|_| !given.exists()).and_then(|text| text.parse::<RepoId>().ok());
    let Some(id) = id else { return Ok(given.to_owned()) };
    let found = HubConfig::from_env().and_then(|config| Hub::new(config).model(&id, &Transfer::new(progress)));
    found.map_err(hub_error).with_context(|| format!("{what} {}: no such path, so a model of the Hub", given.display()))
}

/// An error of the Hub; what is a matter of what was typed, as such.
pub fn hub_error(error: HubError) -> anyhow::Error {
    if error.is_usage() { usage(error) } else { error.into() }
}
