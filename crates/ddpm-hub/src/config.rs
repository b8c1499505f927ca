//! The configuration of the Hub, from environment variables.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::endpoint::Endpoint;
use crate::error::{HubError, IoContext, Result};
use crate::token::Token;

const ENDPOINT: &str = "https://huggingface.co";

/// The endpoint, the cache and the token. Plain data; its `Debug` output does not contain the token.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The address of the Hub.
    pub endpoint: Endpoint,
    /// The directory of the cache, in the layout of the Python library `huggingface_hub`.
    pub cache: PathBuf,
    /// The access token, if there is one.
    pub token: Option<Token>,
    /// Whether only the cache is used and no request is sent.
    pub offline: bool,
    /// The delay before the first retry of a request to a busy Hub. It doubles with every further retry.
    pub retry_delay: Duration,
}

impl HubConfig {
    /// Reads the environment variables, which have the same meaning as for `huggingface_hub`: `HF_ENDPOINT`;
    /// `HF_HUB_CACHE` (default: `hub` in `HF_HOME`, whose default is `~/.cache/huggingface`); `HF_TOKEN` (default: the
    /// contents of the file `HF_TOKEN_PATH`, else of `HF_HOME/token`); `HF_HUB_OFFLINE`. The older names
    /// `HUGGINGFACE_HUB_CACHE` and `HUGGING_FACE_HUB_TOKEN` are used if the newer ones are not set. `~` at the
    /// beginning of a path is the home directory.
    ///
    /// # Errors
    /// [`HubError::BadEndpoint`], [`HubError::BadToken`], [`HubError::NoCacheDirectory`].
    pub fn from_env() -> Result<Self> {
        Self::from_variables(&Variables { get: &|name| env::var_os(name), user: env::home_dir() })
    }

    fn from_variables(variables: &Variables<'_>) -> Result<Self> {
        let endpoint = Endpoint::new(&variables.text("HF_ENDPOINT").unwrap_or_else(|| ENDPOINT.to_owned()))?;
        let home = variables.home();
        let cache = match (variables.path("HF_HUB_CACHE").or_else(|| variables.path("HUGGINGFACE_HUB_CACHE")), &home) {
            (Some(cache), _) => cache,
            // hf-hub gives the directory its name.
            (None, Some(home)) => hf_hub::Cache::new(home.join("hub")).path().clone(),
            (None, None) => return Err(HubError::NoCacheDirectory),
        };
        Ok(Self {
            endpoint,
            cache,
            token: variables.token(home.as_deref())?,
            offline: variables.is_offline(),
            retry_delay: Duration::from_secs(1),
        })
    }
}

/// A set of environment variables.
struct Variables<'a> {
    get: &'a dyn Fn(&str) -> Option<OsString>,
    /// The home directory of the user.
    user: Option<PathBuf>,
}

impl Variables<'_> {
    fn token(&self, home: Option<&Path>) -> Result<Option<Token>> {
        for name in ["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"] {
            if let Some(token) = self.text(name) {
                return Token::new(&token, name);
            }
        }
        let file = self.path("HF_TOKEN_PATH").or_else(|| home.map(|home| home.join("token")));
        let Some(file) = file else { return Ok(None) };
        match std::fs::read_to_string(&file) {
            Ok(text) => Token::new(&text, &file.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).on("read", &file),
        }
    }

    /// `HF_HOME`, or its default in the cache directory of the user.
    fn home(&self) -> Option<PathBuf> {
        self.path("HF_HOME").or_else(|| {
            let caches = self.path("XDG_CACHE_HOME").or_else(|| self.user.as_ref().map(|user| user.join(".cache")));
            caches.map(|caches| caches.join("huggingface"))
        })
    }

    fn is_offline(&self) -> bool {
        let value = self.text("HF_HUB_OFFLINE").unwrap_or_default().to_ascii_uppercase();
        ["1", "ON", "YES", "TRUE"].contains(&value.as_str())
    }

    /// The value of a variable that is set and not empty.
    fn text(&self, name: &str) -> Option<String> {
        (self.get)(name)?.into_string().ok().filter(|value| !value.trim().is_empty())
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let path = (self.get)(name).filter(|value| !value.is_empty()).map(PathBuf::from)?;
        Some(match (path.strip_prefix("~"), &self.user) {
            (Ok(below), Some(user)) => user.join(below),
            _ => path,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_have_the_meaning_of_huggingface_hub() {
        let config = |set: &[(&str, &str)]| {
            let get = |name: &str| set.iter().find(|(own, _)| *own == name).map(|(_, value)| OsString::from(value));
            HubConfig::from_variables(&Variables { get: &get, user: Some("/home/me".into()) }).expect("they are right")
        };
        let cache = |set: &[(&str, &str)]| config(set).cache;
        assert_eq!(cache(&[]), Path::new("/home/me/.cache/huggingface/hub"));
        assert_eq!(cache(&[("HF_HOME", "~/hf")]), Path::new("/home/me/hf/hub"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "~"), ("HF_HOME", "/x")]), Path::new("/home/me"));
        assert_eq!(cache(&[("HF_HUB_CACHE", "~you/x")]), Path::new("~you/x"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HOME", "/x")]), Path::new("/old"));
        assert_eq!(cache(&[("HUGGINGFACE_HUB_CACHE", "/old"), ("HF_HUB_CACHE", "/new")]), Path::new("/new"));
        let token = |set: &[(&str, &str)]| config(set).token.map(|token| token.bearer());
        assert_eq!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_old")]).as_deref(), Some("Bearer hf_old"));
        let both = [("HUGGING_FACE_HUB_TOKEN", "hf_old"), ("HF_TOKEN", "hf_new")];
        assert_eq!(token(&both).as_deref(), Some("Bearer hf_new"));
        assert_eq!(token(&[("HF_TOKEN_PATH", "/nowhere/at/all")]), None);
        assert!(config(&[("HF_HUB_OFFLINE", "yes")]).offline && !config(&[("HF_HUB_OFFLINE", "0")]).offline);
    }
}
