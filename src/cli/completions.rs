//! `calmirror completions SHELL`.

use clap_complete::Shell;

use super::{Out, command::command, exit::Exit};

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, out: &mut Out) -> anyhow::Result<Exit> {
    // It would panic where the reader leaves.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command(), "calmirror", &mut script);
    out.whole(&script)?;
    Ok(Exit::Success)
}
