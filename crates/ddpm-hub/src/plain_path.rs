//! Checks that file names do not leave their directory.

use crate::error::{HubError, Result};

/// The longest file name of common file systems, in bytes.
const MAX_NAME_BYTES: usize = 255;

/// Returns a relative path whose components are valid file names on every system: no `.` or `..`, no drive and no
/// control character.
///
/// # Errors
/// [`HubError::UnsafeName`], which names `repository` as the origin of the path.
pub(crate) fn check_plain_path<'a>(path: &'a str, repository: &str) -> Result<&'a str> {
    if path.split('/').all(is_plain) { Ok(path) } else { Err(unsafe_name(path, repository)) }
}

/// Checks a path in the list of a repository. It may be invalid on some systems, but it must not leave the directory.
///
/// # Errors
/// The errors of [`check_plain_path`].
pub(crate) fn check_stays_inside(path: &str, repository: &str) -> Result<()> {
    if path.split(['/', '\\']).any(|part| matches!(part, "" | "." | "..")) || path.contains('\0') {
        return Err(unsafe_name(path, repository));
    }
    Ok(())
}

fn is_plain(name: &str) -> bool {
    let forbidden = |c: char| c.is_control() || matches!(c, '\\' | ':');
    !matches!(name, "" | "." | "..") && name.len() <= MAX_NAME_BYTES && !name.chars().any(forbidden)
}

fn unsafe_name(name: &str, repository: &str) -> HubError {
    HubError::UnsafeName { repository: repository.to_owned(), name: name.escape_debug().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_would_leave_the_directory_are_refused() {
        let long = "x".repeat(256);
        for path in ["", ".", "..", "../a", "a/../b", "/etc/passwd", "a//b", "a/", "a\\b", "c:d", "a\0b", "a\nb", &long]
        {
            assert!(check_plain_path(path, "o/n").is_err(), "{path:?}");
        }
        for path in ["", "../a", "a/../../b", "/etc/passwd", "a\\..\\b", "a\0"] {
            assert!(check_stays_inside(path, "o/n").is_err(), "{path:?}");
        }
        for path in ["model.safetensors", "a b/c", "..a/b..", "é", ".hidden"] {
            assert_eq!(check_plain_path(path, "o/n").expect("it is plain"), path);
            check_stays_inside(path, "o/n").expect("it stays");
        }
    }
}
