//! Names that stay in their directory.

use std::path::Path;

use crate::error::{CheckpointError, Result};

/// The longest name that common file systems take, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Passes a name that is one component of a path on every system: no separator, no `.` or `..`, no drive, no control
/// character.
///
/// # Errors
/// [`CheckpointError::UnsafeName`], which shows `path` as the place where the name was met.
pub fn check_plain_name<'a>(name: &'a str, path: &Path) -> Result<&'a str> {
    let forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || matches!(name, "." | "..") || name.chars().any(forbidden) {
        return Err(CheckpointError::UnsafeName { path: path.to_owned(), name: name.to_owned() });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "c:d", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(check_plain_name(name, Path::new("manifest.json")).is_err(), "{name:?}");
        }
        for name in ["model.safetensors", "a b", "..a", "é", ".hidden"] {
            assert_eq!(check_plain_name(name, Path::new("manifest.json")).expect("it is plain"), name);
        }
    }
}
