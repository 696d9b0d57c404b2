//! `calmirror completions SHELL`.

use std::io::Write as _;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, Out, exit::Exit};

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
pub struct CompletionsArgs {
    shell: Shell,
}

pub(super) fn run(args: &CompletionsArgs, out: &mut Out) -> anyhow::Result<Exit> {
    // It would panic where the reader leaves.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "calmirror", &mut script);
    out.writer.write_all(&script)?;
    Ok(Exit::Success)
}
