//! The reason why a file of `torch.save` cannot be read, before the path is known.

use std::path::Path;

use crate::error::FeaturesError;

/// The reason.
#[derive(Debug)]
pub(crate) enum Problem {
    /// The file names an object that is not allowed.
    Refused(String),
    /// Anything else: what was expected and what was found.
    Damaged(String),
}

impl Problem {
    pub(crate) fn damaged<T>(problem: impl Into<String>) -> Result<T, Self> {
        Err(Self::Damaged(problem.into()))
    }

    /// The error with the path of the file.
    pub(crate) fn in_file(self, path: &Path) -> FeaturesError {
        match self {
            Self::Refused(global) => FeaturesError::RefusedGlobal { path: path.to_owned(), global },
            Self::Damaged(problem) => FeaturesError::Pth { path: path.to_owned(), problem: on_one_line(&problem) },
        }
    }
}

/// A text with names out of a file, of limited length and without control characters.
fn on_one_line(text: &str) -> String {
    const MAX_CHARS: usize = 300;
    let mut line = String::new();
    for character in text.chars().take(MAX_CHARS) {
        if character.is_control() { line.extend(character.escape_default()) } else { line.push(character) }
    }
    if text.chars().nth(MAX_CHARS).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Found by fuzzing: the key of a storage had line breaks.
    #[test]
    fn messages_have_one_line_whatever_the_file_holds() {
        let error =
            Problem::Damaged(format!("the storage `a\n\u{1b}[2J` {}", "x".repeat(1000))).in_file(Path::new("w"));
        let text = error.to_string();
        assert!(text.contains("the storage `a\\n\\u{1b}[2J` xxx") && text.ends_with("x…"), "{text}");
        assert!(text.chars().count() < 400, "{text}");
    }
}
