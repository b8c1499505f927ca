//! The command line.

use std::io::IsTerminal;

use clap::Parser;
use clap::error::ErrorKind;

use crate::{print, usage};

/// What was typed. None where it asked for `--help` or `--version`, which have then been printed.
///
/// # Errors
/// Wrong usage, in one line; standard output that does not take the help.
pub fn arguments<A: Parser>() -> anyhow::Result<Option<A>> {
    let error = match A::try_parse() {
        Ok(arguments) => return Ok(Some(arguments)),
        Err(error) => error,
    };
    if !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return Err(usage(in_one_line(&error.render().to_string())));
    }
    let text = error.render();
    print(&if std::io::stdout().is_terminal() { text.ansi().to_string() } else { text.to_string() })?;
    Ok(None)
}

/// What clap says in paragraphs: the problem, what may be typed instead, hints. Its last ones repeat the usage.
fn in_one_line(said: &str) -> String {
    let said = said.strip_prefix("error: ").unwrap_or(said);
    let mut line = String::new();
    for part in said.lines().map(str::trim).take_while(|part| !part.starts_with("Usage:")) {
        let (between, part) = match part.strip_prefix("tip: ") {
            _ if part.is_empty() || part.starts_with("For more information") => continue,
            _ if line.is_empty() => ("", part),
            Some(tip) => ("; ", tip),
            None => (" ", part),
        };
        line.push_str(between);
        line.push_str(part);
    }
    line.push_str("; --help tells more");
    line
}

#[cfg(test)]
mod tests {
    use super::in_one_line;

    #[test]
    fn paragraphs_become_a_line() {
        let said = "error: invalid value 'x' for '--preset <PRESET>'\n  [possible values: a, b]\n\n  tip: try 'a'\n\n\
                    Usage: p [OPTIONS]\n\nFor more information, try '--help'.\n";
        let line = "invalid value 'x' for '--preset <PRESET>' [possible values: a, b]; try 'a'; --help tells more";
        assert_eq!(in_one_line(said), line);
    }
}
