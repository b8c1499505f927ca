//! TOML documents with configuration keys: reading and merging.

use std::io::Read;
use std::path::Path;

use ddpm_cli::usage_error;
use toml::{Table, Value};

use crate::config_table::ConfigTable;
use crate::diffusion_config::BETA_PARAMETERS;
use crate::renamed_keys::with_present_names;

/// Largest size of a document. The betas of a schedule with a million timesteps fit in.
const MAX_BYTES: u64 = 32 << 20;

/// The history of a run, which its `config.toml` holds besides the configuration.
const HISTORY: &str = "history";

/// Reads a TOML document without the history of a run. Keys with names of earlier versions get their present names.
///
/// # Errors
/// When the file cannot be read, is too large or is not TOML.
pub(crate) fn read_document(path: &Path) -> anyhow::Result<Table> {
    let mut text = String::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(MAX_BYTES + 1).read_to_string(&mut text));
    let length = opened.map_err(|error| usage_error(format!("the configuration {}: {error}", path.display())))?;
    if length as u64 > MAX_BYTES {
        return Err(usage_error(format!("{}: expected at most {MAX_BYTES} bytes, found more", path.display())));
    }
    let without_history = |mut document: Table| {
        document.remove(HISTORY);
        document
    };
    text.parse().map(without_history).map(with_present_names).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
        usage_error(format!("{}, line {line}: {}", path.display(), error.message()))
    })
}

/// Puts the keys of `overrides` into `document`, table by table.
pub(crate) fn merge(document: &mut Table, overrides: Table) {
    for (name, value) in overrides {
        match (document.get_mut(&name), value) {
            (Some(Value::Table(table)), Value::Table(overrides)) => {
                let changes = |table: &Table, key| match (table.get(key), overrides.get(key)) {
                    (Some(old), Some(new)) => old != new,
                    _ => false,
                };
                // Keys of another kind of network or of another beta schedule do not apply to the new one.
                if changes(table, "kind") {
                    table.clear();
                }
                if changes(table, "beta_schedule") {
                    BETA_PARAMETERS.iter().for_each(|key| drop(table.remove(*key)));
                }
                overrides.into_iter().for_each(|(key, value)| insert(table, key, value));
            }
            (_, value) => {
                document.insert(name, value);
            }
        }
    }
}

/// Sets a key. Of `steps` and `epochs`, which exclude each other, the last one that is set remains.
fn insert(table: &mut Table, key: String, value: Value) {
    for (name, other) in [("steps", "epochs"), ("epochs", "steps")] {
        if key == name {
            table.remove(other);
        }
    }
    table.insert(key, value);
}

/// The document of a saved run with the keys that it leaves out but whose present default is another one: runs of
/// versions without `data.labels` read no classes, and those of versions without `data.holdout_share` trained on all
/// images.
pub(crate) fn with_implied_keys(mut saved: Table) -> Table {
    if let Some(Value::Table(data)) = saved.get_mut(ConfigTable::Data.name()) {
        data.entry("labels").or_insert_with(|| Value::String("none".to_owned()));
        data.entry("holdout_share").or_insert(Value::Float(0.0));
    }
    saved
}
