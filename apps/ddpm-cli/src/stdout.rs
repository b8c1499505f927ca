//! Results on standard output.

use std::io::{self, Write};

use anyhow::Context;

/// The reader of standard output has closed it, as `head` does. This is not a failure of the program.
#[derive(Debug)]
pub(crate) struct ReaderGone;

impl std::fmt::Display for ReaderGone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the reader of standard output has closed it")
    }
}

impl std::error::Error for ReaderGone {}

/// Writes the whole `text` to standard output.
///
/// # Errors
/// When standard output cannot be written to. [`crate::exit_code`] treats it as success if its reader has closed it.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(ReaderGone.into()),
        written => written.context("cannot write to standard output"),
    }
}
