//! How the user starts the programs of this workspace.

use std::path::{Path, PathBuf};

/// The command that starts `program` in the way that the running program was started: `cargo run -p PROGRAM --`, or a
/// program in the same directory.
pub fn invocation(program: &str) -> String {
    // Cargo sets this variable for the programs that it runs.
    if std::env::var_os("CARGO_MANIFEST_DIR").is_some() {
        return format!("cargo run -p {program} --");
    }
    let own = std::env::args_os().next().map(PathBuf::from).unwrap_or_default();
    shell_word(&own.with_file_name(program))
}

/// A path as a word of a POSIX shell.
pub fn shell_word(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+@:,=%".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_if_necessary() {
        let quoted = ["runs/a-2", "my run", "it's", ""].map(|text| shell_word(Path::new(text)));
        assert_eq!(quoted, ["runs/a-2", "'my run'", r"'it'\''s'", "''"]);
    }
}
