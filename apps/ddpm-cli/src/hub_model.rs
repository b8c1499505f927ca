//! Models that the command line names, on disk or on the Hugging Face Hub.

use std::path::{Path, PathBuf};

use ddpm_hub::{Hub, HubConfig, HubError, RepoId};

use crate::exit::usage_error;
use crate::progress::Progress;
use crate::transfer_bar::TransferBar;

/// The path of the model that `given` names, where `argument` is the argument that it was given for. If there is no
/// such path, the model is downloaded from the Hub.
///
/// A model of the Hub is `OWNER/NAME`, `hub:OWNER/NAME` or the address of its page.
///
/// # Errors
/// When there is neither such a path nor such a model of the Hub, or the download fails.
pub fn resolve_model_path(argument: &str, given: &Path, progress: &Progress) -> anyhow::Result<PathBuf> {
    let Some(text) = given.to_str().filter(|_| !given.exists()) else { return Ok(given.to_owned()) };
    let names_hub = text.starts_with("hub:") || text.starts_with("https://");
    let id = match RepoId::typed(text) {
        Ok(id) => id,
        Err(error) if names_hub => return Err(usage_error(format!("{argument} {text}: {error}"))),
        Err(_) => return Ok(given.to_owned()),
    };
    let found = HubConfig::from_env().and_then(|config| Hub::new(config).model(&id, &TransferBar::new(progress)));
    found.map_err(|error| {
        let context = match (names_hub, error.is_absent()) {
            (true, _) => format!("{argument} {text}"),
            (false, true) => format!("{argument} {text}: no such path, and the Hub shows no such model"),
            (false, false) => format!("{argument} {text}: no such path, so a model of the Hub"),
        };
        hub_error(error).context(context)
    })
}

/// Converts an error of the Hub. Errors that another command line would avoid become usage errors.
pub fn hub_error(error: HubError) -> anyhow::Error {
    if error.is_usage() { usage_error(error) } else { error.into() }
}
