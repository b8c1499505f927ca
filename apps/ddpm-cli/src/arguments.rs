//! Parses the command line, and reports wrong usage in one line.

use std::io::IsTerminal;

use clap::Parser;
use clap::error::ErrorKind;

use crate::exit::usage_error;
use crate::stdout::print;

/// Parses the command line. The result is `None` if it contains `--help` or `--version`, whose output has then been
/// printed.
///
/// # Errors
/// A usage error, in one line, when the command line is not valid; an error when the help cannot be written to standard
/// output.
pub fn parse_arguments<A: Parser>() -> anyhow::Result<Option<A>> {
    let error = match A::try_parse() {
        Ok(arguments) => return Ok(Some(arguments)),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Err(usage_error(join_lines(&error.render().to_string())));
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
