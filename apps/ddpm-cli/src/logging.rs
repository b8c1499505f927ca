//! Logs on standard error, in step with the progress bar.

use std::io::{self, IsTerminal, Write};

use clap::Args;
use indicatif::MultiProgress;
use tracing_subscriber::EnvFilter;

use crate::exit::without_backtrace;

/// `-v` and `-q`.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Verbosity {
    /// Say more: -v for details, -vv for everything
    #[arg(short, long, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub verbose: u8,
    /// Say nothing but warnings and errors
    #[arg(short, long)]
    pub quiet: bool,
}

impl Verbosity {
    /// Starts logging. Lines go above the bars that `bars` draws. The environment variable `RUST_LOG` overrides the
    /// flags.
    pub fn start(self, bars: &MultiProgress) {
        let own = match (self.quiet, self.verbose) {
            (true, _) => "warn",
            (_, 0) => "info",
            (_, 1) => "debug",
            _ => "trace",
        };
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(own));
        let bars = bars.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(move || AboveBars(bars.clone()))
            .with_ansi(io::stderr().is_terminal())
            .with_target(self.verbose > 0)
            .without_time()
            .finish();
        // Only a second call could fail, and logging already works then.
        let _ = tracing::subscriber::set_global_default(subscriber);
    }
}

/// Writes a line while the bars are out of the way.
struct AboveBars(MultiProgress);

impl Write for AboveBars {
    // A line that nobody can read any more is no reason to stop: the subscriber would answer an error with a panic.
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

/// An event, which comes whole, with what would break its line escaped: it may name a file.
fn one_line(event: &str) -> String {
    let (line, end) = event.strip_suffix('\n').map_or((event, ""), |line| (line, "\n"));
    without_backtrace(line).replace('\n', "\\n").replace('\r', "\\r") + end
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn a_line_stays_a_line() {
        assert_eq!(one_line("WARN a\nb\r.png\n"), "WARN a\\nb\\r.png\n");
    }
}
