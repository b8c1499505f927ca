//! Results on standard output.

use std::io::{self, Write};

use anyhow::Context;

/// Writes `text` to standard output, to the last byte.
///
/// # Errors
/// When standard output does not take it: a full disk, or a reader that is gone, which [`crate::exit`] takes for success.
pub fn print(text: &str) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("cannot write to standard output")
}
