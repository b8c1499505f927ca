//! The tables of a document as what they configure; errors name the key.

use std::collections::BTreeSet;

use ddpm_cli::usage;
use ddpm_unet::{NetworkConfig, NoiseNetConfig, UNet2dConfig};
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config::RunConfig;
use crate::presets;

/// The tables of the document, in the order they are written.
pub(crate) const TABLES: [&str; 5] = ["model", "diffusion", "data", "train", "sample"];

/// The keys of `[diffusion]` that belong to one rule or another.
pub(crate) const BETA_PARAMETERS: [&str; 5] = ["beta_start", "beta_end", "cosine_offset", "max_beta", "betas"];

/// Takes the network out of the document.
pub(crate) fn model(document: &mut Table) -> anyhow::Result<NetworkConfig> {
    let written = document.get(TABLES[0]).and_then(Value::as_table).cloned();
    table(document, TABLES[0]).map_err(|error| {
        // An error of a tagged enum does not say which key it is about, that of the variant's own type does.
        let Some(mut fields) = written else { return error };
        let kind = fields.remove("kind");
        let mut alone = Table::from_iter([(TABLES[0].to_string(), Value::Table(fields))]);
        let own = match kind.as_ref().and_then(Value::as_str) {
            Some("noise-net") => table::<NoiseNetConfig>(&mut alone, TABLES[0]).err(),
            Some("unet2d") => table::<UNet2dConfig>(&mut alone, TABLES[0]).err(),
            _ => None,
        };
        own.unwrap_or(error)
    })
}

/// Takes a table out of the document.
pub(crate) fn table<T: DeserializeOwned>(document: &mut Table, name: &str) -> anyhow::Result<T> {
    let value = document.remove(name).unwrap_or_else(|| Value::Table(Table::new()));
    value.clone().try_into().map_err(|error: toml::de::Error| {
        let message = error.to_string().trim().replace('\n', " ");
        // Of a table that is made of two, a wrong type does not say either which key has it.
        let named = value.as_table().into_iter().flatten().any(|(key, _)| message.contains(&format!("`{key}`")));
        if !named
            && let Some((key, found)) = wrong_key::<T>(name, &value).filter(|(key, _)| !message.contains(key.as_str()))
        {
            return usage(format!("{name}.{key}: {message}, found {found}"));
        }
        // A table that is made of two does not list its keys.
        let keys =
            if message.starts_with("unknown field") && !message.contains(", expected") { keys(name) } else { None };
        usage(format!("[{name}]: {message}{}", keys.map_or(String::new(), |keys| format!(", expected one of {keys}"))))
    })
}

/// The first key of a table whose value is not read, in a table where all others are.
fn wrong_key<T: DeserializeOwned>(name: &str, written: &Value) -> Option<(String, Value)> {
    let preset: Table = presets::document(presets::default_name(&Table::new()))?.parse().ok()?;
    let whole = preset.get(name)?.as_table()?;
    let is_wrong = |(key, value): &(&String, &Value)| {
        let mut table = whole.clone();
        table.insert((*key).clone(), (*value).clone());
        Value::Table(table).try_into::<T>().is_err()
    };
    written.as_table()?.iter().find(is_wrong).map(|(key, value)| (key.clone(), value.clone()))
}

/// The keys that a table may have, as those of a preset that is written out.
fn keys(name: &str) -> Option<String> {
    let preset: Table = presets::document(presets::default_name(&Table::new()))?.parse().ok()?;
    let written: Table = RunConfig::from_document(preset).ok()?.to_toml().ok()?.parse().ok()?;
    let rules = if name == TABLES[1] { &BETA_PARAMETERS[..] } else { &[] };
    let keys: BTreeSet<&str> =
        written.get(name)?.as_table()?.keys().map(String::as_str).chain(rules.iter().copied()).collect();
    Some(keys.into_iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
}
