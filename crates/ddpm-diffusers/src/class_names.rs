//! The names of the classes of a pipeline, for which diffusers has no place: `classes.json` beside `model_index.json`.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use ddpm_checkpoint::{ClassDescription, write_atomically};
use serde::{Deserialize, Serialize};

use crate::error::{DiffusersError, IoContext, Result};
use crate::layout::CLASSES_NAME;

/// The largest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// The contents of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// In the order of their labels. If the network has more class embeddings, the next one stands for no class.
    classes: Vec<ClassDescription>,
}

/// The classes of the pipeline in `directory`; empty if it has no file of classes.
///
/// # Errors
/// When the file cannot be read or parsed.
pub(crate) fn read_classes(directory: &Path) -> Result<Vec<ClassDescription>> {
    let path = directory.join(CLASSES_NAME);
    let bytes = match fs::metadata(&path) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        metadata => metadata.on("access", &path)?.len(),
    };
    if bytes > MAX_BYTES {
        return Err(DiffusersError::damaged(&path, format!("expected at most {MAX_BYTES} bytes, found {bytes}")));
    }
    let text = fs::read_to_string(&path).on("read", &path)?;
    let document: Document =
        serde_json::from_str(&text).map_err(|error| DiffusersError::damaged(&path, error.to_string()))?;
    Ok(document.classes)
}

/// Writes the classes, or removes the file of an earlier pipeline if there are none.
///
/// # Errors
/// When the file cannot be written or removed.
pub(crate) fn write_classes(directory: &Path, classes: &[ClassDescription]) -> Result<()> {
    let path = directory.join(CLASSES_NAME);
    if classes.is_empty() {
        return match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).on("remove", &path),
            _ => Ok(()),
        };
    }
    let document = Document { classes: classes.to_vec() };
    Ok(write_atomically(&path, |out| {
        serde_json::to_writer_pretty(&mut *out, &document)?;
        out.write_all(b"\n")
    })?)
}
