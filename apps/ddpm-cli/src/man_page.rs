//! The man page of a program.

use anyhow::Context;
use clap::CommandFactory;

use crate::stdout::print;

/// Writes the man page of the program `P`, in roff, to standard output.
///
/// # Errors
/// When it cannot be written to standard output.
pub fn print_man_page<P: CommandFactory>() -> anyhow::Result<()> {
    let mut page = Vec::new();
    clap_mangen::Man::new(P::command()).render(&mut page).context("the man page")?;
    print(&String::from_utf8_lossy(&page))
}
