//! Shell completions of a program.

use clap::CommandFactory;
use clap_complete::Shell;

/// Writes the completions of `P` for a shell to standard output.
pub fn completions<P: CommandFactory>(shell: Shell) {
    let mut command = P::command();
    let name = command.get_name().to_string();
    clap_complete::generate(shell, &mut command, name, &mut std::io::stdout());
}
