//! Names that cannot refer to a file outside of their directory.

use std::path::Path;

use crate::error::{CheckpointError, Result};

/// The longest name that common file systems accept, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Returns `name` if it is a single path component on every operating system: no separator, no `.` or `..`, no drive
/// letter, no control character, 1 to 255 bytes.
///
/// Names that come out of a file have to pass this check before they are joined to a path.
///
/// # Errors
/// [`CheckpointError::UnsafeName`]. `path` is the file in which the name occurs.
///
/// # Examples
/// ```
/// use std::path::Path;
///
/// use ddpm_checkpoint::check_plain_name;
///
/// let index = Path::new("model.safetensors.index.json");
/// assert_eq!(check_plain_name("part-1.safetensors", index)?, "part-1.safetensors");
/// assert!(check_plain_name("../../etc/passwd", index).is_err());
/// # Ok::<(), ddpm_checkpoint::CheckpointError>(())
/// ```
pub fn check_plain_name<'a>(name: &'a str, path: &Path) -> Result<&'a str> {
    let is_forbidden = |c: char| c.is_control() || matches!(c, '/' | '\\' | ':');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || matches!(name, "." | "..") || name.chars().any(is_forbidden) {
        return Err(CheckpointError::UnsafeName { path: path.to_owned(), name: name.to_owned() });
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for name in ["", ".", "..", "../a", "a/b", "/etc/passwd", "a\\b", "c:d", "a\0b", "a\nb", &"x".repeat(256)] {
            assert!(check_plain_name(name, Path::new("manifest.json")).is_err(), "{name:?}");
        }
        for name in ["model.safetensors", "a b", "..a", "é", ".hidden"] {
            assert_eq!(check_plain_name(name, Path::new("manifest.json")).expect("it is plain"), name);
        }
    }
}
