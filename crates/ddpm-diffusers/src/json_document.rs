//! A JSON object in a file. Errors name the file, the field, the expected value and the value found.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{DiffusersError, IoContext, Result};
use crate::python_json::{NOT_FINITE, quote_not_finite};

/// The largest document that is read, in bytes. A list of a million betas fits.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// The fields of a JSON object and the file that they come from.
pub(crate) struct JsonDocument {
    path: PathBuf,
    fields: Map<String, Value>,
}

impl JsonDocument {
    /// Reads a file that holds one JSON object.
    ///
    /// # Errors
    /// [`DiffusersError::Io`], [`DiffusersError::TooLarge`], and [`DiffusersError::Damaged`] for a file that is not
    /// JSON or holds another value than an object.
    pub(crate) fn read(path: &Path) -> Result<Self> {
        let mut json = Vec::new();
        let read = File::open(path).and_then(|file| file.take(MAX_JSON_BYTES + 1).read_to_end(&mut json));
        let bytes = read.on("read", path)? as u64;
        if bytes > MAX_JSON_BYTES {
            return Err(DiffusersError::TooLarge { path: path.to_owned(), bytes, limit: MAX_JSON_BYTES });
        }
        let value = serde_json::from_slice(&quote_not_finite(&json));
        match value.map_err(|error| DiffusersError::damaged(path, error.to_string()))? {
            Value::Object(fields) => Ok(Self { path: path.to_owned(), fields }),
            _ => Err(DiffusersError::damaged(path, "expected a JSON object, found another value")),
        }
    }

    /// An empty document in place of a file that does not exist, so that every field has its default.
    pub(crate) fn empty(path: &Path) -> Self {
        Self { path: path.to_owned(), fields: Map::new() }
    }

    /// The file of the document.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The fields that describe the object. Names with a leading underscore describe the file and are left out.
    pub(crate) fn own_fields(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.iter().filter(|(name, _)| !name.starts_with('_'))
    }

    /// The value of a field, or `None` if the field is absent or null.
    pub(crate) fn get(&self, field: &str) -> Option<&Value> {
        self.fields.get(field).filter(|value| !value.is_null())
    }

    /// The value that `names` maps the text of the field to. An absent field has the text `default`.
    pub(crate) fn choice<T: Copy>(&self, field: &'static str, default: &str, names: &[(&str, T)]) -> Result<T> {
        let text = self.get(field).map_or(Some(default), Value::as_str);
        let found = names.iter().find(|(name, _)| text == Some(name));
        found.map(|(_, value)| *value).ok_or_else(|| {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.unexpected(field, &format!("one of {}", names.join(", ")))
        })
    }

    /// A boolean field.
    pub(crate) fn flag(&self, field: &'static str, default: bool) -> Result<bool> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_bool().ok_or_else(|| self.unexpected(field, "true or false")),
        }
    }

    /// A numeric field.
    pub(crate) fn number(&self, field: &'static str, default: f64) -> Result<f64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_f64().ok_or_else(|| self.unexpected(field, "a number")),
        }
    }

    /// A numeric field whose value must satisfy `is_valid`. The error describes the valid values as `expected`.
    pub(crate) fn number_in(
        &self,
        field: &'static str,
        default: f64,
        expected: &str,
        is_valid: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        match self.number(field, default) {
            Ok(number) if is_valid(number) => Ok(number),
            _ => Err(self.unexpected(field, expected)),
        }
    }

    /// A field that holds an integer from 0.
    pub(crate) fn integer(&self, field: &'static str, default: u64) -> Result<u64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_u64().ok_or_else(|| self.unexpected(field, "a whole number")),
        }
    }

    /// The error for a field that does not have the expected value. The message shows the value found.
    pub(crate) fn unexpected(&self, field: &'static str, expected: &str) -> DiffusersError {
        let found = self.fields.get(field).map_or("nothing".to_owned(), display_value);
        self.field_error(field, format!("expected {expected}, found {found}"))
    }

    /// The error for a field with the given problem.
    pub(crate) fn field_error(
        &self,
        field: impl Into<Cow<'static, str>>,
        problem: impl Into<String>,
    ) -> DiffusersError {
        DiffusersError::field(&self.path, field, problem)
    }
}

/// A value as an error message shows it: at most 80 characters, and Python's words for numbers that are not finite
/// without quotation marks.
pub(crate) fn display_value(value: &Value) -> String {
    const MAX_CHARACTERS: usize = 80;
    let text = match value.as_str() {
        Some(word) if NOT_FINITE.contains(&word) => word.to_owned(),
        _ => value.to_string(),
    };
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}
