//! Deserializes the tables of a configuration document, with errors that name the key.

use std::collections::BTreeSet;

use ddpm_cli::usage_error;
use ddpm_unet::{NetworkConfig, NoiseNetConfig, UNet2dConfig};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::config_table::ConfigTable;
use crate::diffusion_config::BETA_PARAMETERS;
use crate::presets;

/// Removes the table `[model]` from the document and deserializes it.
pub(crate) fn take_model(document: &mut Table) -> anyhow::Result<NetworkConfig> {
    let written = document.get(ConfigTable::Model.name()).and_then(Value::as_table).cloned();
    take_table(document, ConfigTable::Model).map_err(|error| {
        // The error of a tagged enum does not name the key. The error of the variant's type does.
        let Some(mut fields) = written else { return error };
        let kind = fields.remove("kind");
        let mut variant = Table::from_iter([(ConfigTable::Model.name().to_string(), Value::Table(fields))]);
        let variant_error = match kind.as_ref().and_then(Value::as_str) {
            Some("noise-net") => take_table::<NoiseNetConfig>(&mut variant, ConfigTable::Model).err(),
            Some("unet2d") => take_table::<UNet2dConfig>(&mut variant, ConfigTable::Model).err(),
            _ => None,
        };
        variant_error.unwrap_or(error)
    })
}

/// Removes a table from the document and deserializes it. A missing table is an empty one.
pub(crate) fn take_table<T: DeserializeOwned + Serialize>(
    document: &mut Table,
    table: ConfigTable,
) -> anyhow::Result<T> {
    let value = document.remove(table.name()).unwrap_or_else(|| Value::Table(Table::new()));
    value.clone().try_into().map_err(|error: toml::de::Error| usage_error(describe_error::<T>(table, &value, &error)))
}

/// The error message, with what serde leaves out for a table that is flattened from two types: the key that has a
/// value of the wrong type, and the keys that are expected.
fn describe_error<T: DeserializeOwned + Serialize>(
    table: ConfigTable,
    value: &Value,
    error: &toml::de::Error,
) -> String {
    let (name, message) = (table.name(), error.to_string().trim().replace('\n', " "));
    let names_key = value.as_table().into_iter().flatten().any(|(key, _)| message.contains(&format!("`{key}`")));
    if !names_key
        && let Some((key, found)) = wrong_key::<T>(table, value).filter(|(key, _)| !message.contains(key.as_str()))
    {
        return format!("{name}.{key}: {message}, found {found}");
    }
    let lacks_keys = message.starts_with("unknown field") && !message.contains(", expected");
    let keys = if lacks_keys { expected_keys::<T>(table) } else { None };
    format!("[{name}]: {message}{}", keys.map_or(String::new(), |keys| format!(", expected one of {keys}")))
}

/// The first key whose value cannot be deserialized, with its value.
fn wrong_key<T: DeserializeOwned>(table: ConfigTable, written: &Value) -> Option<(String, Value)> {
    let valid = preset_table(table)?;
    let is_wrong = |(key, value): &(&String, &Value)| {
        let mut table = valid.clone();
        table.insert((*key).clone(), (*value).clone());
        Value::Table(table).try_into::<T>().is_err()
    };
    written.as_table()?.iter().find(is_wrong).map(|(key, value)| (key.clone(), value.clone()))
}

/// The keys that a table can have: those that are written for a preset.
fn expected_keys<T: DeserializeOwned + Serialize>(table: ConfigTable) -> Option<String> {
    let preset: T = Value::Table(preset_table(table)?).try_into().ok()?;
    let written = Table::try_from(preset).ok()?;
    let optional = if table == ConfigTable::Diffusion { &BETA_PARAMETERS[..] } else { &[] };
    let keys: BTreeSet<&str> = written.keys().map(String::as_str).chain(optional.iter().copied()).collect();
    Some(keys.into_iter().map(|key| format!("`{key}`")).collect::<Vec<_>>().join(", "))
}

/// The table as a preset has it, in which all values are valid.
fn preset_table(table: ConfigTable) -> Option<Table> {
    let mut preset: Table = presets::document(presets::default_name(&Table::new()))?.parse().ok()?;
    match preset.remove(table.name()) {
        Some(Value::Table(table)) => Some(table),
        _ => None,
    }
}
