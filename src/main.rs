//! The command line: parse it, run the command, turn what came of it into an exit code.

use std::process::ExitCode;

use calmirror::{
    cli::{Cli, exit::Exit},
    config::Environment,
};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.run(&environment)));
    match result {
        Ok(exit) => exit.into(),
        // A reader that has seen enough, as `head` has, is no failure of ours.
        Err(error) if is_closed_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            Exit::of_error(&error).into()
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<std::io::Error>()
        .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}
