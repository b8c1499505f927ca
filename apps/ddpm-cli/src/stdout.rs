//! Results on standard output.

use std::io::{self, Write};

use anyhow::Context;

/// Whoever read our standard output closed it, as `head` does: no failure of ours.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("nobody reads standard output any more")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes `text` to standard output, to the last byte.
///
/// # Errors
/// When standard output does not take it: a full disk, or a reader that is gone, which [`crate::exit`] takes for success.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}
