//! The configuration of a `UNet2DModel` of the Python library diffusers: `config.json`.

use std::path::Path;

use ddpm_unet::{UNet2dConfig, UnetError};
use serde_json::{Map, Value, json};

use crate::error::{CheckpointError, Result};
use crate::fields::{Fields, shown};

/// Reads the configuration, of which a network exists.
///
/// # Errors
/// [`CheckpointError::WrongField`] naming the file, a field that is wrong, and what it holds.
pub(crate) fn unet(path: &Path) -> Result<UNet2dConfig> {
    let document = Fields::read(path)?;
    document.choice("_class_name", "UNet2DModel", &[("UNet2DModel", ())])?;
    // What begins so is about the file, not about the network.
    let own = document.fields.iter().filter(|(name, _)| !name.starts_with('_'));
    let mut fields: Map<String, Value> = own.map(|(name, value)| (name.clone(), value.clone())).collect();
    // diffusers' own default, where the file does not even say null.
    fields.entry("attention_head_dim").or_insert_with(|| 8.into());
    if !fields.get("sample_size").is_some_and(is_size) {
        return document.wrong("sample_size", "a number of pixels from 1, or [height, width]");
    }
    let config = match read(fields.clone()) {
        Ok(config) => config,
        Err(error) => return wrong_field(&document, &fields, &error),
    };
    let channels = config.in_channels;
    // What says x_0, ε or v of an image has as many channels, or twice as many with a learnt variance beside it.
    if ![channels, channels.saturating_mul(2)].contains(&config.out_channels) {
        let expected = format!("{channels} as in_channels, or twice that with a learnt variance");
        return document.wrong("out_channels", &expected);
    }
    match config.validate() {
        Ok(()) => Ok(config),
        Err(UnetError::Config { field, expected, found }) => {
            document.refuse(field, format!("expected {expected}, found {found}"))
        }
        Err(error) => Err(CheckpointError::damaged(path, error.to_string())),
    }
}

fn read(fields: Map<String, Value>) -> serde_json::Result<UNet2dConfig> {
    serde_json::from_value(Value::Object(fields))
}

/// One side, or two.
fn is_size(value: &Value) -> bool {
    let is_side = |side: &Value| side.as_u64().is_some_and(|side| side > 0);
    match value {
        Value::Array(sides) => sides.len() == 2 && sides.iter().all(is_side),
        side => is_side(side),
    }
}

/// The first field that is not read on its own: however many are wrong, one is named.
fn wrong_field<T>(document: &Fields, fields: &Map<String, Value>, all: &serde_json::Error) -> Result<T> {
    for (name, value) in fields {
        let alone = Map::from_iter([("sample_size".to_owned(), json!(1)), (name.clone(), value.clone())]);
        if let Err(error) = read(alone) {
            return document.refuse(name.clone(), problem(&error.to_string(), value));
        }
    }
    document.refuse("network", all.to_string())
}

/// What serde says of a value, in the words of the file.
fn problem(said: &str, value: &Value) -> String {
    // An unknown name is told with the known ones.
    let Some((_, expected)) = said.split_once(", expected ").filter(|_| said.starts_with("invalid")) else {
        return said.to_owned();
    };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        expected if expected.contains("variant") || expected.contains("string or map") => "a name",
        expected => expected,
    };
    format!("expected {expected}, found {}", shown(value))
}
