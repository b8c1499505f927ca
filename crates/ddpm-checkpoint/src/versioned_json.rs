//! JSON documents of bounded size with a field `format_version`.

use std::io::{Read, Write};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::{CheckpointError, IoContext, Result};

/// The newest version of the documents of this crate: model description, manifest and training state.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// Reads a document of at most `limit` bytes. The version is checked before the other fields, so that a newer document
/// is reported as newer and not because of a field that this version does not know. `what` names the document in
/// errors.
///
/// # Errors
/// [`CheckpointError::TooLarge`], [`CheckpointError::NewerFormat`], [`CheckpointError::Damaged`],
/// [`CheckpointError::Io`].
pub(crate) fn read<T: DeserializeOwned>(
    reader: &mut dyn Read,
    what: &'static str,
    limit: u64,
    path: &Path,
) -> Result<T> {
    let mut bytes = Vec::new();
    reader.take(limit + 1).read_to_end(&mut bytes).on("read", path)?;
    check_size(bytes.len(), what, limit, path)?;
    parse(&bytes, what, path)
}

/// Parses a document whose size the caller has checked.
///
/// # Errors
/// [`CheckpointError::NewerFormat`], [`CheckpointError::Damaged`].
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8], what: &'static str, path: &Path) -> Result<T> {
    let damaged = |error: serde_json::Error| CheckpointError::damaged(path, format!("the {what}: {error}"));
    // serde_json stops at a nesting of 128, so the depth is bounded too.
    let value: Value = serde_json::from_slice(bytes).map_err(damaged)?;
    match value.get("format_version").and_then(Value::as_u64) {
        Some(found) if found > u64::from(FORMAT_VERSION) => {
            Err(CheckpointError::NewerFormat { path: path.to_owned(), found, supported: FORMAT_VERSION })
        }
        Some(1..) => serde_json::from_value(value).map_err(damaged),
        _ => Err(CheckpointError::damaged(path, format!("the {what} has no valid `format_version`"))),
    }
}

/// Writes a document, indented. A document that is too large for [`read`] is refused.
///
/// # Errors
/// [`CheckpointError::TooLarge`], [`CheckpointError::Io`].
pub(crate) fn write(
    out: &mut dyn Write,
    document: &impl Serialize,
    what: &'static str,
    limit: u64,
    path: &Path,
) -> Result<()> {
    let mut bytes = serde_json::to_vec_pretty(document).map_err(std::io::Error::from).on("encode", path)?;
    bytes.push(b'\n');
    check_size(bytes.len(), what, limit, path)?;
    out.write_all(&bytes).on("write", path)
}

/// Checks that `length` is at most `limit` bytes.
///
/// # Errors
/// [`CheckpointError::TooLarge`].
pub(crate) fn check_size(length: usize, what: &'static str, limit: u64, path: &Path) -> Result<()> {
    let bytes = length as u64;
    if bytes > limit {
        return Err(CheckpointError::TooLarge { path: path.to_owned(), what, bytes, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &str) {
        let read: Result<Value> = read(&mut text.as_bytes(), "document", 64, Path::new("d.json"));
        let message = read.map_or_else(|error| error.to_string(), |value| value.to_string());
        assert!(message.contains(expected), "{text}: {message}");
    }

    #[test]
    fn the_version_is_checked_before_the_other_fields() {
        check(r#"{"format_version": 1}"#, r#"{"format_version":1}"#);
        check(r#"{"format_version": 2, "new": 1}"#, "d.json has format version 2; this program reads up to 1");
        check(r#"{"format_version": 0}"#, "no valid `format_version`");
        check(r#"{"format_version": -1}"#, "no valid `format_version`");
        check("{}", "no valid `format_version`");
        check("[]", "no valid `format_version`");
        check("{", "d.json is damaged: the document");
    }

    #[test]
    fn size_and_depth_are_bounded() {
        check(&" ".repeat(65), "document takes 65 bytes, more than the 64 allowed");
        let deep = "[".repeat(100_000);
        let read: Result<Value> = read(&mut deep.as_bytes(), "document", 1 << 20, Path::new("d.json"));
        assert!(read.expect_err("it is nested too deeply").to_string().contains("recursion limit"));
    }
}
