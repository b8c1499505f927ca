//! Parses the command line, and reports wrong usage in one line.

use std::io::IsTerminal;

use anyhow::Context;
use clap::Parser;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::exit::usage_error;
use crate::stdout::print;
use crate::version::long_version;

/// Parses the command line. The result is `None` if it contains `--help` or `--version`, whose output has then been
/// printed.
///
/// `features` are the optional features of the program, each with whether it is on, for `--version`. `hint` returns
/// what a user may have meant by an unknown option, without its dashes.
///
/// # Errors
/// A usage error, in one line, when the command line is not valid; an error when the help cannot be written to standard
/// output.
pub fn parse_arguments<A: Parser>(
    features: &[(&str, bool)],
    hint: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Option<A>> {
    let command = A::command();
    let version = command.get_version().unwrap_or_default().to_string();
    let mut command = command.long_version(long_version(&version, features));
    let parsed = command
        .try_get_matches_from_mut(std::env::args_os())
        .and_then(|matches| A::from_arg_matches(&matches).map_err(|error| error.format(&mut command)));
    let error = match parsed {
        Ok(arguments) => {
            // Without it, every relative path would fail with a message of its own.
            std::env::current_dir().context("the working directory does not exist any more")?;
            return Ok(Some(arguments));
        }
        Err(error) => error,
    };
    if error.kind() == ErrorKind::InvalidUtf8 {
        let invalid = std::env::args_os().find(|argument| argument.to_str().is_none()).unwrap_or_default();
        return Err(usage_error(format!("expected UTF-8, found the argument {invalid:?}; see --help")));
    }
    if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        let unknown = match error.get(ContextKind::InvalidArg) {
            Some(ContextValue::String(option)) if error.kind() == ErrorKind::UnknownArgument => Some(option),
            _ => None,
        };
        let hint = unknown.and_then(|option| hint(option.trim_start_matches('-')));
        return Err(usage_error(match hint {
            Some(hint) => format!("unexpected argument '{}' found; {hint}", unknown.map_or("", String::as_str)),
            None => join_lines(&error.render().to_string()),
        }));
    }
    let text = error.render();
    print(&if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() })?;
    Ok(None)
}

/// Joins the paragraphs of a message of clap: the problem, the possible values and tips. The usage line is left out.
fn join_lines(message: &str) -> String {
    let message = message.strip_prefix("error: ").unwrap_or(message);
    let mut line = String::new();
    for part in message.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:")) {
        let (separator, part) = match part.strip_prefix("tip: ") {
            _ if part.is_empty() || part.starts_with("For more information") => continue,
            _ if line.is_empty() => ("", part),
            Some(tip) => ("; ", tip),
            None => (" ", part),
        };
        line.push_str(separator);
        line.push_str(part);
    }
    line.push_str("; see --help");
    line
}

#[cfg(test)]
mod tests {
    use super::join_lines;

    #[test]
    fn paragraphs_become_a_line() {
        let message = "error: invalid value 'x' for '--preset <PRESET>'\n  [possible values: a, b]\n\n  tip: try 'a'\n\
                       \nUsage: p [OPTIONS]\n\nFor more information, try '--help'.\n";
        let line = "invalid value 'x' for '--preset <PRESET>' [possible values: a, b]; try 'a'; see --help";
        assert_eq!(join_lines(message), line);
    }
}
