//! The first free name for a new run.

use std::fs;
use std::path::Path;

use crate::error::Result;
use crate::plain_name::check_plain_name;

/// Returns `stem` if nothing in `root` has that name, and otherwise the first free name of `stem-2`, `stem-3`, …
///
/// Another process may take the name before the caller does; [`RunDir::create_next`](crate::RunDir::create_next)
/// retries then.
///
/// # Errors
/// [`CheckpointError::UnsafeName`](crate::CheckpointError::UnsafeName) if `stem` is not a plain file name.
pub fn next_free_name(root: impl AsRef<Path>, stem: &str) -> Result<String> {
    let root = root.as_ref();
    let mut name = stem.to_owned();
    let mut number = 1_u64;
    while fs::symlink_metadata(root.join(check_plain_name(&name, root)?)).is_ok() {
        number += 1;
        name = format!("{stem}-{number}");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_begin_at_two() {
        let root = tempfile::tempdir().expect("temp dir");
        let next = |stem| next_free_name(root.path(), stem);
        assert_eq!(next("digits").expect("free"), "digits");
        fs::create_dir(root.path().join("digits")).expect("new");
        fs::write(root.path().join("digits-2"), "a file takes the name too").expect("room");
        assert_eq!(next("digits").expect("free"), "digits-3");
        assert!(next("../x").is_err() && next("").is_err());
    }
}
