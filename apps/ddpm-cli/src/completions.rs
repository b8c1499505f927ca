//! Shell completions of a program.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::stdout::print;

/// Writes the completions of the program `P` for a shell to standard output.
///
/// # Errors
/// When they cannot be written to standard output.
pub fn print_completions<P: CommandFactory>(shell: Shell) -> anyhow::Result<()> {
    let mut command = P::command();
    let name = command.get_name().to_string();
    // Generated into memory, because the generator panics if a write fails.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script))
}
