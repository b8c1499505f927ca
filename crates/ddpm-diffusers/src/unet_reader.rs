//! Reading the configuration of a `UNet2DModel`, `config.json`.

use std::path::Path;

use ddpm_unet::{UNet2dConfig, UnetError};
use serde_json::{Map, Value, json};

use crate::error::{DiffusersError, Result};
use crate::json_document::{JsonDocument, display_value};

/// Reads the configuration and validates it. `size` is the size, \[height, width\], of a network whose configuration
/// has none (`sample_size` is null).
///
/// # Errors
/// [`DiffusersError::Field`] naming the file, the field that is wrong and its value, and the errors of
/// [`JsonDocument::read`].
pub(crate) fn read_unet(path: &Path, size: Option<[usize; 2]>) -> Result<UNet2dConfig> {
    let document = JsonDocument::read(path)?;
    document.choice("_class_name", "UNet2DModel", &[("UNet2DModel", ())])?;
    let mut fields: Map<String, Value> =
        document.own_fields().map(|(name, value)| (name.clone(), value.clone())).collect();
    leave_out_unknown(&document, &mut fields);
    // The default of diffusers for an absent field. Null is another value: all channels in one head.
    fields.entry("attention_head_dim").or_insert_with(|| 8.into());
    if let (None | Some(Value::Null), Some(size)) = (fields.get("sample_size"), size) {
        fields.insert("sample_size".into(), json!(size));
    }
    match fields.get("sample_size") {
        Some(size) if is_size(size) => {}
        None | Some(Value::Null) => {
            return Err(document.field_error("sample_size", "expected a size, found none: give it with --image-size"));
        }
        Some(_) => return Err(document.unexpected("sample_size", "a number of pixels from 1, or [height, width]")),
    }
    let config = parse(fields.clone()).map_err(|error| first_wrong_field(&document, &fields, &error))?;
    let channels = config.in_channels;
    // A prediction of x_0, ε or v has the channels of an image, and a learned variance as many again.
    if ![channels, channels.saturating_mul(2)].contains(&config.out_channels) {
        let expected = format!("{channels} as in_channels, or twice that with a learned variance");
        return Err(document.unexpected("out_channels", &expected));
    }
    match config.validate() {
        Ok(()) => Ok(config),
        Err(UnetError::Config { field, expected, found }) => {
            Err(document.field_error(field, format!("expected {expected}, found {found}")))
        }
        Err(error) => Err(DiffusersError::damaged(path, error.to_string())),
    }
}

/// Removes the fields that a `UNet2DModel` does not have, and warns of them, as diffusers does. `EMAModel`, for
/// example, saves its own fields with those of the network.
fn leave_out_unknown(document: &JsonDocument, fields: &mut Map<String, Value>) {
    let is_unknown = |name: &str| {
        let single = Map::from_iter([("sample_size".to_owned(), json!(1)), (name.to_owned(), Value::Null)]);
        parse(single).is_err_and(|error| error.to_string().starts_with("unknown field"))
    };
    let unknown: Vec<String> = fields.keys().filter(|name| is_unknown(name)).cloned().collect();
    if !unknown.is_empty() {
        let file = document.path().display();
        tracing::warn!("{file}: fields that a UNet2DModel does not have are ignored: {}", unknown.join(", "));
    }
    fields.retain(|name, _| !unknown.contains(name));
}

fn parse(fields: Map<String, Value>) -> serde_json::Result<UNet2dConfig> {
    serde_json::from_value(Value::Object(fields))
}

/// Whether the value is one side or a pair of sides, each at least 1.
fn is_size(value: &Value) -> bool {
    let is_side = |side: &Value| side.as_u64().is_some_and(|side| side > 0);
    match value {
        Value::Array(sides) => sides.len() == 2 && sides.iter().all(is_side),
        side => is_side(side),
    }
}

/// The error for the first field that cannot be parsed. `whole_error` is the error of parsing all fields together.
///
/// serde does not name the field of a value of the wrong type, so each field is parsed separately.
fn first_wrong_field(
    document: &JsonDocument,
    fields: &Map<String, Value>,
    whole_error: &serde_json::Error,
) -> DiffusersError {
    for (name, value) in fields {
        let single = Map::from_iter([("sample_size".to_owned(), json!(1)), (name.clone(), value.clone())]);
        if let Err(error) = parse(single) {
            return document.field_error(name.clone(), describe_problem(&error.to_string(), value));
        }
    }
    document.field_error("network", whole_error.to_string())
}

/// The message of serde with the types of JSON in place of those of Rust.
fn describe_problem(message: &str, value: &Value) -> String {
    // The message for an unknown name already lists the known ones.
    let Some((_, expected)) = message.split_once(", expected ").filter(|_| message.starts_with("invalid")) else {
        return message.to_owned();
    };
    let expected = match expected {
        "usize" | "u64" | "u32" => "a whole number",
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "a sequence" => "a list",
        expected if expected.contains("variant") || expected.contains("string or map") => "a name",
        expected => expected,
    };
    format!("expected {expected}, found {}", display_value(value))
}
