//! The history of a run: what later sessions changed, as `config.toml` records it.

use anyhow::Context;
use ddpm_checkpoint::RunDir;
use serde::{Deserialize, Serialize};
use toml::Value;

use crate::config_changes::ConfigChange;
use crate::data_path::with_absolute_path;
use crate::run_config::RunConfig;

/// A change that took effect after step `step`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct HistoryEntry {
    step: u64,
    key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    old: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    new: Option<Value>,
}

impl HistoryEntry {
    pub(crate) fn new(step: u64, change: ConfigChange) -> Self {
        let ConfigChange { key, old, new } = change;
        Self { step, key, old, new }
    }
}

/// The part of `config.toml` that this module reads. It is no part of the configuration.
#[derive(Default, Serialize, Deserialize)]
struct Document {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    history: Vec<HistoryEntry>,
}

/// Writes the configuration of a run, with the history that it has and `added`.
pub(crate) fn save_config(run: &RunDir, config: &RunConfig, added: Vec<HistoryEntry>) -> anyhow::Result<()> {
    let path = run.config_path();
    let mut document: Document = match path.is_file() {
        true => toml::from_str(&run.read_config()?).with_context(|| format!("{}", path.display()))?,
        false => Document::default(),
    };
    document.history.extend(added);
    let mut text = with_absolute_path(config)?.to_toml()?;
    if !document.history.is_empty() {
        text.push_str("\n# What later sessions changed, and the step after which the change took effect.\n");
        text.push_str(&toml::to_string(&document).context("the history cannot be written as TOML")?);
    }
    Ok(run.save_config(&text)?)
}
