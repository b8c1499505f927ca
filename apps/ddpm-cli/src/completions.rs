//! Shell completions of a program.

use clap::CommandFactory;
use clap_complete::Shell;

/// Writes the completions of `P` for a shell to standard output.
///
/// # Errors
/// When standard output does not take them.
pub fn completions<P: CommandFactory>(shell: Shell) -> anyhow::Result<()> {
    let mut command = P::command();
    let name = command.get_name().to_string();
    // Into memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    crate::print(&String::from_utf8_lossy(&script))
}
