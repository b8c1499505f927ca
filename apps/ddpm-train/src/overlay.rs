//! What is asked for beside a base: `--config`, flags and `--set`, as a document of some keys.

use std::io::Read;
use std::path::Path;

use ddpm_cli::usage;
use toml::{Table, Value};

use crate::args::Args;
use crate::config_tables::{BETA_PARAMETERS, TABLES};
use crate::renamed_keys::{renamed, with_present_names};

/// What `--config`, flags and `--set` say, in this order.
pub(crate) fn overlay(args: &Args) -> anyhow::Result<Table> {
    let mut over = match &args.config {
        Some(path) => read_overlay(path)?,
        None => Table::new(),
    };
    for (key, value) in flags(args)? {
        set(&mut over, &key, value)?;
    }
    Ok(over)
}

/// A document of some keys.
fn read_overlay(path: &Path) -> anyhow::Result<Table> {
    let over = read_document(path)?;
    let shown = path.display();
    if let Some((name, value)) = over.iter().find(|(_, value)| !value.is_table()) {
        return Err(usage(format!("{shown}: {name}: expected a table, found {}", value.type_str())));
    }
    let train = over.get("train").and_then(Value::as_table);
    if train.is_some_and(|train| train.contains_key("steps") && train.contains_key("epochs")) {
        return Err(usage(format!("{shown}: train: expected one of steps and epochs, found both")));
    }
    Ok(over)
}

/// A list of betas for a million steps fits in.
const MOST_BYTES: u64 = 32 << 20;

/// Reads a TOML document.
pub(crate) fn read_document(path: &Path) -> anyhow::Result<Table> {
    let mut text = String::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(MOST_BYTES + 1).read_to_string(&mut text));
    let read = opened.map_err(|error| usage(format!("the configuration {}: {error}", path.display())))?;
    if read as u64 > MOST_BYTES {
        return Err(usage(format!("{}: expected at most {MOST_BYTES} bytes, found more", path.display())));
    }
    text.parse().map(with_present_names).map_err(|error: toml::de::Error| {
        let before = error.span().map_or(0, |span| span.start.min(text.len()));
        let line = 1 + text.as_bytes()[..before].iter().filter(|byte| **byte == b'\n').count();
        usage(format!("{}, line {line}: {}", path.display(), error.message()))
    })
}

/// Puts the keys of `over` into `base`, table by table.
pub(crate) fn merge(base: &mut Table, over: Table) {
    for (name, value) in over {
        match (base.get_mut(&name), value) {
            (Some(Value::Table(base)), Value::Table(over)) => {
                let other =
                    |base: &Table, key| base.get(key).is_some_and(|own| over.get(key).is_some_and(|new| new != own));
                // Another kind of network or rule of β brings its own keys: those of the old one mean nothing to it.
                if other(base, "kind") {
                    base.clear();
                }
                if other(base, "beta_schedule") {
                    BETA_PARAMETERS.iter().for_each(|key| drop(base.remove(*key)));
                }
                over.into_iter().for_each(|(key, value)| put(base, key, value));
            }
            (_, value) => {
                base.insert(name, value);
            }
        }
    }
}

/// Sets a key; of `steps` and `epochs` a document has one, the last that was said.
fn put(table: &mut Table, key: String, value: Value) {
    for (own, other) in [("steps", "epochs"), ("epochs", "steps")] {
        if key == own {
            table.remove(other);
        }
    }
    table.insert(key, value);
}

/// The keys that flags stand for, and those of `--set`.
fn flags(args: &Args) -> anyhow::Result<Vec<(String, Value)>> {
    let number = |key: &str, n: Option<u64>| -> anyhow::Result<Option<(String, Value)>> {
        let Some(n) = n else { return Ok(None) };
        let n = i64::try_from(n).map_err(|_| usage(format!("{key}: {n} is too large")))?;
        Ok(Some((key.to_string(), Value::Integer(n))))
    };
    let mut keys = Vec::new();
    keys.extend(args.data.clone().map(|path| ("data.path".to_string(), Value::String(path))));
    keys.extend(number("train.steps", args.steps)?);
    keys.extend(number("train.epochs", args.epochs)?);
    keys.extend(number("train.batch_size", args.batch_size)?);
    keys.extend(number("train.seed", args.seed)?);
    for set in &args.set {
        let (key, value) =
            set.split_once('=').ok_or_else(|| usage(format!("--set {set}: expected TABLE.KEY=VALUE")))?;
        keys.push((
            key.trim().to_string(),
            read_value(value.trim()).map_err(|error| usage(format!("{key}: {error}")))?,
        ));
    }
    Ok(keys)
}

/// A value as TOML has it; what is no TOML is a string, so that quotes are not needed.
fn read_value(text: &str) -> Result<Value, String> {
    let document = format!("value = {text}").parse::<Table>().ok();
    match document.and_then(|mut document| document.remove("value")) {
        Some(value) => Ok(value),
        None if text.parse::<i128>().is_ok_and(|number| i64::try_from(number).is_err()) => {
            Err(format!("expected a number of at most {}, found {text}", i64::MAX))
        }
        None => Ok(Value::String(text.to_string())),
    }
}

fn set(document: &mut Table, key: &str, value: Value) -> anyhow::Result<()> {
    let (table, field) = key
        .split_once('.')
        .filter(|(table, field)| TABLES.contains(table) && !field.is_empty() && !field.contains('.'))
        .ok_or_else(|| usage(format!("{key}: expected TABLE.KEY with a table of {}", TABLES.join(", "))))?;
    let mut over = Table::new();
    over.insert(table.to_string(), Value::Table(Table::from_iter([renamed(table, field.to_string(), value)])));
    merge(document, over);
    Ok(())
}
