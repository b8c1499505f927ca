//! The exit code of a program and the error message on its last line.

use std::io::Write;
use std::process::ExitCode;

use crate::stdout::ReaderGone;

/// Wrong usage or configuration: exit code 2.
#[derive(Debug)]
pub struct UsageError(String);

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// A [`UsageError`] with this message.
pub fn usage_error(message: impl std::fmt::Display) -> anyhow::Error {
    UsageError(message.to_string()).into()
}

/// The reason why a program ended without a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitReason {
    /// The program did everything that was requested.
    Completed,
    /// The signal with this number stopped the program after it had saved its state.
    Signal(i32),
}

/// Converts the result of a program to its exit code. An error and its causes are written to standard error.
///
/// The code is 0 for success, 2 for wrong usage or configuration, 1 for other failures, and 128 + n after signal n.
pub fn exit_code(result: anyhow::Result<ExitReason>) -> ExitCode {
    match result {
        Ok(ExitReason::Completed) => ExitCode::SUCCESS,
        Ok(ExitReason::Signal(signal)) => ExitCode::from(128u8.saturating_add(signal.clamp(0, 127) as u8)),
        Err(error) => ExitCode::from(report(&error)),
    }
}

/// Writes an error and its causes to standard error and returns the exit code.
pub(crate) fn report(error: &anyhow::Error) -> u8 {
    if error.is::<ReaderGone>() {
        return 0;
    }
    // If standard error is closed or full, the exit code alone reports the failure.
    let _ = writeln!(std::io::stderr(), "error: {}", one_line(error));
    if error.chain().any(|cause| cause.is::<UsageError>()) { 2 } else { 1 }
}

/// Formats the error and its causes. A cause that an outer message contains is left out. Control characters, which file
/// names may contain, are escaped.
fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = cause.to_string();
        let cause = without_backtrace(&cause);
        if line.is_empty() {
            line = cause.to_owned();
        } else if !line.contains(cause) {
            line = format!("{line}: {cause}");
        }
    }
    line.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

/// Removes the backtrace that candle appends to its error messages if `RUST_BACKTRACE` is set.
pub(crate) fn without_backtrace(message: &str) -> &str {
    message.split_once("\n   0: ").map_or(message, |(message, _)| message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_not_repeated() {
        let error = Err::<(), _>(usage_error("steps: expected 1, found 0")).context("in x.toml").unwrap_err();
        assert_eq!(one_line(&error), "in x.toml: steps: expected 1, found 0");
        let error = Err::<(), _>(usage_error("inner")).context("outer, because inner").unwrap_err();
        assert_eq!(one_line(&error), "outer, because inner");
    }

    #[test]
    fn backtraces_are_left_out() {
        let error =
            anyhow::anyhow!("no such tensor\n   0: candle_core::error::Error::bt\n             at error.rs:260:25\n");
        assert_eq!(one_line(&error.context("m.bin")), "m.bin: no such tensor");
    }

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(one_line(&usage_error("a\nb\u{1b}[2J: ü")), "a\\nb\\u{1b}[2J: ü");
    }

    #[test]
    fn only_a_broken_pipe_of_standard_output_is_success() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let code = |error: anyhow::Error| format!("{:?}", exit_code(Err(error)));
        assert_eq!(code(anyhow::Error::new(broken()).context("cannot write x")), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(ReaderGone.into()), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn codes_distinguish_usage_from_failure() {
        let code = |result| format!("{:?}", exit_code(result));
        assert_eq!(code(Ok(ExitReason::Completed)), format!("{:?}", ExitCode::from(0)));
        assert_eq!(code(Ok(ExitReason::Signal(15))), format!("{:?}", ExitCode::from(143)));
        assert_eq!(code(Err(usage_error("x").context("y"))), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Err(anyhow::anyhow!("x"))), format!("{:?}", ExitCode::from(1)));
    }
}
