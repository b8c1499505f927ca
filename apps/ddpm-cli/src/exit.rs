//! How a program ends: its exit code and its last line.

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

/// A usage error of that message.
pub fn usage(message: impl std::fmt::Display) -> anyhow::Error {
    UsageError(message.to_string()).into()
}

/// How a program that did not fail ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did what was asked.
    Done,
    /// A signal of that number stopped it, its state saved.
    BySignal(i32),
}

/// The exit code of a program: 0 done, 2 wrong usage or configuration, 1 any other failure, 128 + n after signal n. The
/// failure goes to standard error, its causes on the same line.
pub fn exit(result: anyhow::Result<Ended>) -> ExitCode {
    match result {
        Ok(Ended::Done) => ExitCode::SUCCESS,
        Ok(Ended::BySignal(signal)) => ExitCode::from(128u8.saturating_add(signal.clamp(0, 127) as u8)),
        Err(error) if error.is::<ReaderGone>() => ExitCode::SUCCESS,
        Err(error) => {
            // Where standard error is closed or full there is nobody to tell, and the exit code still says it.
            let _ = writeln!(std::io::stderr(), "error: {}", one_line(&error));
            ExitCode::from(if error.chain().any(|cause| cause.is::<UsageError>()) { 2 } else { 1 })
        }
    }
}

/// The error and its causes, each said once: a cause that the message above it quotes is left out. Names of files may
/// hold any character: those that would break the line are escaped.
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

/// What the message of an error of candle says before its backtrace, which it has where `RUST_BACKTRACE` is set.
pub(crate) fn without_backtrace(message: &str) -> &str {
    message.split_once("\n   0: ").map_or(message, |(said, _)| said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn causes_are_said_once() {
        let error = Err::<(), _>(usage("steps: expected 1, found 0")).context("in x.toml").unwrap_err();
        assert_eq!(one_line(&error), "in x.toml: steps: expected 1, found 0");
        let error = Err::<(), _>(usage("inner")).context("outer, because inner").unwrap_err();
        assert_eq!(one_line(&error), "outer, because inner");
    }

    #[test]
    fn a_backtrace_is_left_out() {
        let error =
            anyhow::anyhow!("no such tensor\n   0: candle_core::error::Error::bt\n             at error.rs:260:25\n");
        assert_eq!(one_line(&error.context("m.bin")), "m.bin: no such tensor");
    }

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line(&usage("a\nb\u{1b}[2J: ü")), "a\\nb\\u{1b}[2J: ü");
    }

    #[test]
    fn a_pipe_that_broke_elsewhere_is_a_failure() {
        let broken = || std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let code = |error: anyhow::Error| format!("{:?}", exit(Err(error)));
        assert_eq!(code(anyhow::Error::new(broken()).context("cannot write x")), format!("{:?}", ExitCode::from(1)));
        assert_eq!(code(ReaderGone.into()), format!("{:?}", ExitCode::SUCCESS));
    }

    #[test]
    fn codes_tell_usage_from_failure() {
        let code = |result| format!("{:?}", exit(result));
        assert_eq!(code(Ok(Ended::Done)), format!("{:?}", ExitCode::from(0)));
        assert_eq!(code(Ok(Ended::BySignal(15))), format!("{:?}", ExitCode::from(143)));
        assert_eq!(code(Err(usage("x").context("y"))), format!("{:?}", ExitCode::from(2)));
        assert_eq!(code(Err(anyhow::anyhow!("x"))), format!("{:?}", ExitCode::from(1)));
    }
}
