//! `calmirror completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Out, exit::Exit};

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, out: &mut Out) -> anyhow::Result<Exit> {
    clap_complete::generate(args.shell, &mut Cli::command(), "calmirror", &mut out.writer);
    Ok(Exit::Success)
}
