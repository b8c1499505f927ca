//! A JSON document of named fields, read with errors that name the file, the field, the expected and the found.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{CheckpointError, IoContext, Result};

/// The largest document that is read. A list of a million betas fits in.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// A document of named fields.
pub(crate) struct Fields {
    path: PathBuf,
    pub(crate) fields: Map<String, Value>,
}

impl Fields {
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut bytes = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_JSON_BYTES + 1).read_to_end(&mut bytes));
        let bytes_read = read.on("read", path)? as u64;
        if bytes_read > MAX_JSON_BYTES {
            let (what, limit) = ("the document", MAX_JSON_BYTES);
            return Err(CheckpointError::TooLarge { path: path.to_owned(), what, bytes: bytes_read, limit });
        }
        let value =
            serde_json::from_slice(&bytes).map_err(|error| CheckpointError::damaged(path, error.to_string()))?;
        match value {
            Value::Object(fields) => Ok(Self { path: path.to_owned(), fields }),
            _ => Err(CheckpointError::damaged(path, "expected an object of JSON, found another value")),
        }
    }

    /// A document that is not there: every field has its default.
    pub(crate) fn none(path: &Path) -> Self {
        Self { path: path.to_owned(), fields: Map::new() }
    }

    /// A field's value, unless it is absent or null.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    pub(crate) fn wrong<T>(&self, field: &'static str, expected: &str) -> Result<T> {
        let found = self.fields.get(field).map_or("nothing".to_owned(), Value::to_string);
        let problem = format!("expected {expected}, found {found}");
        Err(CheckpointError::WrongField { path: self.path.clone(), field, problem })
    }

    /// The value that `names` has for the field's text, or that of `default`.
    pub(crate) fn choice<T: Copy>(&self, field: &'static str, default: &str, names: &[(&str, T)]) -> Result<T> {
        let text = self.get(field).map_or(Some(default), Value::as_str);
        let found = names.iter().find(|(name, _)| text == Some(name));
        match found {
            Some((_, value)) => Ok(*value),
            None => {
                self.wrong(field, &format!("one of {}", names.iter().map(|(n, _)| *n).collect::<Vec<_>>().join(", ")))
            }
        }
    }

    pub(crate) fn flag(&self, field: &'static str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => self.wrong(field, "true or false"),
        }
    }

    pub(crate) fn number(&self, field: &'static str, default: f64) -> Result<f64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_f64().map_or_else(|| self.wrong(field, "a number"), Ok),
        }
    }

    pub(crate) fn whole(&self, field: &'static str, default: u64) -> Result<u64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_u64().map_or_else(|| self.wrong(field, "a whole number"), Ok),
        }
    }
}
