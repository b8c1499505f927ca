//! A JSON document of named fields, read with errors that name the file, the field, the expected and the found.
//!
//! Python's `json.dumps` writes numbers that are not finite as bare words, which no JSON has. They are read as the strings of the
//! same letters: a field that is a number refuses them by its name, and one that may be infinite says so itself.

use std::borrow::Cow;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use crate::error::{CheckpointError, IoContext, Result};

/// The largest document that is read. A list of a million betas fits in.
const MAX_JSON_BYTES: u64 = 32 << 20;

/// What Python writes for numbers that are not finite. The longest first: one contains another.
const NOT_FINITE: [&str; 3] = ["-Infinity", "Infinity", "NaN"];

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
        let value = serde_json::from_slice(&quoted(&bytes))
            .map_err(|error| CheckpointError::damaged(path, error.to_string()))?;
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
        let found = self.fields.get(field).map_or("nothing".to_owned(), shown);
        self.refuse(field, format!("expected {expected}, found {found}"))
    }

    /// The error that this field has that problem.
    pub(crate) fn refuse<T>(&self, field: impl Into<Cow<'static, str>>, problem: String) -> Result<T> {
        Err(CheckpointError::WrongField { path: self.path.clone(), field: field.into(), problem })
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

    /// A number that `holds`; `expected` says which those are.
    pub(crate) fn number_in(
        &self,
        field: &'static str,
        default: f64,
        expected: &str,
        holds: impl Fn(f64) -> bool,
    ) -> Result<f64> {
        match self.number(field, default) {
            Ok(number) if holds(number) => Ok(number),
            _ => self.wrong(field, expected),
        }
    }

    pub(crate) fn whole(&self, field: &'static str, default: u64) -> Result<u64> {
        match self.get(field) {
            None => Ok(default),
            Some(value) => value.as_u64().map_or_else(|| self.wrong(field, "a whole number"), Ok),
        }
    }
}

/// A value as an error shows it: Python's words without their quotes, and no more of a long list than its beginning.
pub(crate) fn shown(value: &Value) -> String {
    const MOST_CHARACTERS: usize = 80;
    let text = match value.as_str() {
        Some(word) if NOT_FINITE.contains(&word) => word.to_owned(),
        _ => value.to_string(),
    };
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// The same document with Python's words for numbers that are not finite as strings.
fn quoted(bytes: &[u8]) -> Cow<'_, [u8]> {
    let (mut quoted, mut copied, mut at, mut in_string) = (Vec::new(), 0, 0, false);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => in_string = !in_string,
            b'\\' if in_string => at += 1,
            b'-' | b'I' | b'N' if !in_string => {
                let word = NOT_FINITE.iter().find(|word| bytes[at..].starts_with(word.as_bytes()));
                if let Some(word) = word {
                    quoted.extend_from_slice(&bytes[copied..at]);
                    quoted.extend_from_slice(format!("\"{word}\"").as_bytes());
                    at += word.len();
                    copied = at;
                    continue;
                }
            }
            _ => {}
        }
        at += 1;
    }
    if copied == 0 {
        return Cow::Borrowed(bytes);
    }
    quoted.extend_from_slice(&bytes[copied..]);
    Cow::Owned(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_python_are_quoted_outside_of_strings_alone() {
        let check = |document: &str, expected: &str| {
            assert_eq!(String::from_utf8_lossy(&quoted(document.as_bytes())), expected);
        };
        check(
            r#"{"a": -Infinity, "b":[NaN,Infinity], "c": -1}"#,
            r#"{"a": "-Infinity", "b":["NaN","Infinity"], "c": -1}"#,
        );
        check(r#"{"NaN": "a \" NaN, Infinity", "b": NaN}"#, r#"{"NaN": "a \" NaN, Infinity", "b": "NaN"}"#);
        check(r#"{"a\\": NaN"#, r#"{"a\\": "NaN""#);
        check("\"\\", "\"\\");
        check("", "");
    }
}
