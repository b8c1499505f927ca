//! Models that are named on the command line and may be those of the Hugging Face Hub.

use std::path::{Path, PathBuf};

use ddpm_hub::{Hub, HubConfig, HubError, RepoId};

use crate::{Progress, Transfer, usage};

/// The path of the model that was typed as `what`: one that is there, else that of a model of the Hub, downloaded. A
/// model of the Hub may be typed as `hub:OWNER/NAME` or the address of its page as well.
///
/// # Errors
/// When there is no such path and the Hub does not give such a model either.
pub fn model_path(what: &str, given: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let Some(text) = given.to_str().filter(|_| !given.exists()) else { return Ok(given.to_owned()) };
    let is_of_hub = text.starts_with("hub:") || text.starts_with("https://");
    let id = match RepoId::typed(text) {
        Ok(id) => id,
        Err(error) if is_of_hub => return Err(usage(format!("{what} {text}: {error}"))),
        Err(_) => return Ok(given.to_owned()),
    };
    let found = HubConfig::from_env().and_then(|config| Hub::new(config).model(&id, &Transfer::new(progress)));
    found.map_err(|error| {
        let context = match (is_of_hub, error.is_absent()) {
            (true, _) => format!("{what} {text}"),
            (false, true) => format!("{what} {text}: no such path, and the Hub shows no such model"),
            (false, false) => format!("{what} {text}: no such path, so a model of the Hub"),
        };
        hub_error(error).context(context)
    })
}

/// An error of the Hub; what is a matter of what was typed, as such.
pub fn hub_error(error: HubError) -> anyhow::Error {
    if error.is_usage() { usage(error) } else { error.into() }
}
