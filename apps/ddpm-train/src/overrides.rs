//! The configuration keys that the command line overrides: `--config`, options and `--set`.

use std::path::Path;

use ddpm_cli::usage_error;
use toml::{Table, Value};

use crate::args::Args;
use crate::config_document::{merge, read_document};
use crate::config_table::ConfigTable;
use crate::renamed_keys::renamed;

/// The keys of `--config`, overridden by options and `--set`.
///
/// # Errors
/// When the file cannot be read, or a key or value is malformed.
pub(crate) fn overrides(args: &Args) -> anyhow::Result<Table> {
    let mut overrides = match &args.config {
        Some(path) => read_partial_document(path)?,
        None => Table::new(),
    };
    for (key, value) in options(args)? {
        set(&mut overrides, &key, value)?;
    }
    Ok(overrides)
}

/// Reads a document that contains some of the keys.
fn read_partial_document(path: &Path) -> anyhow::Result<Table> {
    let document = read_document(path)?;
    let file = path.display();
    if let Some((name, value)) = document.iter().find(|(_, value)| !value.is_table()) {
        return Err(usage_error(format!("{file}: {name}: expected a table, found {}", value.type_str())));
    }
    let train = document.get(ConfigTable::Train.name()).and_then(Value::as_table);
    if train.is_some_and(|train| train.contains_key("steps") && train.contains_key("epochs")) {
        return Err(usage_error(format!("{file}: train: expected one of steps and epochs, found both")));
    }
    Ok(document)
}

/// The keys that options stand for, then those of `--set`, as `TABLE.KEY`.
fn options(args: &Args) -> anyhow::Result<Vec<(String, Value)>> {
    let number = |key: &str, n: Option<u64>| -> anyhow::Result<Option<(String, Value)>> {
        let Some(n) = n else { return Ok(None) };
        let n = i64::try_from(n).map_err(|_| usage_error(format!("{key}: {n} is too large")))?;
        Ok(Some((key.to_string(), Value::Integer(n))))
    };
    let mut keys = Vec::new();
    keys.extend(args.data.clone().map(|path| ("data.path".to_string(), Value::String(path))));
    keys.extend(number("train.steps", args.steps)?);
    keys.extend(number("train.epochs", args.epochs)?);
    keys.extend(number("train.batch_size", args.batch_size)?);
    keys.extend(number("train.seed", args.seed)?);
    keys.extend(number("data.workers", args.workers)?);
    keys.extend(args.lr.map(|rate| ("train.learning_rate".to_string(), Value::Float(rate))));
    let decays: Vec<Value> = args.ema_decay.iter().map(|&decay| Value::Float(decay)).collect();
    keys.extend((!decays.is_empty()).then(|| ("train.ema_decay".to_string(), Value::Array(decays))));
    keys.extend(args.precision.map(|precision| ("train.precision".to_string(), Value::String(precision.to_string()))));
    if let Some(size) = args.image_size {
        keys.push(("model.image_size".to_string(), Value::try_from(size)?));
    }
    for set in &args.set {
        let (key, value) =
            set.split_once('=').ok_or_else(|| usage_error(format!("--set {set}: expected TABLE.KEY=VALUE")))?;
        let value = parse_value(value.trim()).map_err(|error| usage_error(format!("{key}: {error}")))?;
        keys.push((key.trim().to_string(), value));
    }
    Ok(keys)
}

/// Parses a TOML value. Text that is not TOML is a string, so that strings need no quotes.
fn parse_value(text: &str) -> Result<Value, String> {
    let document = format!("value = {text}").parse::<Table>().ok();
    match document.and_then(|mut document| document.remove("value")) {
        Some(value) => Ok(value),
        None if text.parse::<i128>().is_ok_and(|number| i64::try_from(number).is_err()) => {
            Err(format!("expected a number of at most {}, found {text}", i64::MAX))
        }
        None => Ok(Value::String(text.to_string())),
    }
}

/// Sets `TABLE.KEY` in a document.
fn set(document: &mut Table, key: &str, value: Value) -> anyhow::Result<()> {
    let is_table = |name: &str| ConfigTable::ALL.iter().any(|table| table.name() == name);
    let (table, field) = key
        .split_once('.')
        .filter(|(table, field)| is_table(table) && !field.is_empty() && !field.contains('.'))
        .ok_or_else(|| usage_error(format!("{key}: expected TABLE.KEY with a table of {}", ConfigTable::list())))?;
    let mut overrides = Table::new();
    overrides.insert(table.to_string(), Value::Table(Table::from_iter([renamed(table, field.to_string(), value)])));
    merge(document, overrides);
    Ok(())
}
