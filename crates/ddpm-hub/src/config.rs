//! What the environment says about the Hub.

use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::{HubError, IoContext, Result};
use crate::token::Token;

const ENDPOINT: &str = "https://huggingface.co";

/// Where the Hub and its cache are, and who asks. Plain data; its `Debug` does not show the token.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The Hub.
    pub endpoint: Endpoint,
    /// The directory of what was downloaded, in the form of the Python library `huggingface_hub`.
    pub cache: PathBuf,
    /// Who asks.
    pub token: Option<Token>,
    /// Whether only the cache may be used.
    pub offline: bool,
    /// The wait after the first refusal of a busy Hub; each later one is twice as long.
    pub pause: Duration,
}

impl HubConfig {
    /// As the environment says, with the meaning that these variables have for `huggingface_hub`: `HF_ENDPOINT`,
    /// `HF_HUB_CACHE` (else `hub` in `HF_HOME`, else in `~/.cache/huggingface`), `HF_TOKEN` (else the file `HF_TOKEN_PATH`,
    /// else `HF_HOME/token`), `HF_HUB_OFFLINE`.
    ///
    /// # Errors
    /// [`HubError::BadEndpoint`], [`HubError::BadToken`], [`HubError::NoHome`].
    pub fn from_env() -> Result<Self> {
        let endpoint = Endpoint::new(&text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()))?;
        let home = home();
        let cache = match (path("HF_HUB_CACHE"), &home) {
            (Some(cache), _) => cache,
            // As hf-hub has it, its name beside the token.
            (None, Some(home)) => hf_hub::Cache::new(home.join("hub")).path().clone(),
            (None, None) => return Err(HubError::NoHome),
        };
        Ok(Self {
            endpoint,
            cache,
            token: token(home.as_deref())?,
            offline: is_offline(),
            pause: Duration::from_secs(1),
        })
    }
}

fn token(home: Option<&Path>) -> Result<Option<Token>> {
    if let Some(token) = text("HF_TOKEN") {
        return Token::new(&token, "HF_TOKEN");
    }
    let Some(file) = path("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token"))) else { return Ok(None) };
    match std::fs::read_to_string(&file) {
        Ok(text) => Token::new(&text, &file.display().to_string()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).on("read", &file),
    }
}

/// `HF_HOME`, else where the user's caches are.
fn home() -> Option<PathBuf> {
    path("HF_HOME").or_else(|| {
        let caches = path("XDG_CACHE_HOME").or_else(|| env::home_dir().map(|home| home.join(".cache")));
        caches.map(|caches| caches.join("huggingface"))
    })
}

fn is_offline() -> bool {
    let says = text("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
    ["1", "ON", "YES", "TRUE"].contains(&says.as_str())
}

/// A variable that is set and not empty.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.trim().is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}
