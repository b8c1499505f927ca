//! Log messages on standard error, written above the progress bars.

use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

use clap::Args;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use crate::exit::without_backtrace;

/// The options `-v` and `-q`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Verbosity {
    /// Show more messages: -v for details, -vv for everything
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,

    /// Show only warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}

impl Verbosity {
    /// Starts logging. Messages are written above the progress bars of `bars`. The environment variable `RUST_LOG`
    /// overrides the options.
    pub fn start(self, bars: &MultiProgress) {
        let level = match (self.quiet, self.verbose) {
            (true, _) => "warn",
            (_, 0) => "info",
            (_, 1) => "debug",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
        let bars = bars.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || WriterAboveBars(bars.clone()))
            .with_ansi(io::stderr().is_terminal())
            .with_target(self.verbose > 0)
            .with_timer(Seconds)
            .finish();
        // This only fails if logging was started before.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// The time of a message in UTC, to the second: `2026-01-31T09:30:00Z`.
struct Seconds;

impl FormatTime for Seconds {
    fn format_time(&self, out: &mut Writer<'_>) -> std::fmt::Result {
        write!(out, "{}", humantime::format_rfc3339_seconds(SystemTime::now()))
    }
}

/// Hides the progress bars while it writes to standard error.
struct WriterAboveBars(MultiProgress);

impl Write for WriterAboveBars {
    // Errors are ignored: the subscriber panics on an error, and a message that cannot be shown must not stop the
    // program.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let line = one_line(&String::from_utf8_lossy(bytes));
        let _ = self.0.suspend(|| io::stderr().write_all(line.as_bytes()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

/// Escapes the line breaks within an event, which file names may contain. Each write is one whole event.
fn one_line(event: &str) -> String {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    without_backtrace(line).replace('\n', "\\n").replace('\r', "\\r") + end
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn line_breaks_within_an_event_are_escaped() {
        assert_eq!(one_line("WARN a\nb\r.png\n"), "WARN a\\nb\\r.png\n");
    }
}
