//! The command line: parse it, run the command, turn what came of it into an exit code.

use std::process::ExitCode;

use calmirror::{
    cli::{
        Cli,
        exit::{Exit, is_closed_pipe},
    },
    config::Environment,
    store,
};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let environment = Environment::of_process();
    #[cfg(feature = "failpoints")]
    if let Err(fault) = calmirror::crash_point::arm(environment.crash_points().unwrap_or_default()) {
        anstream::eprintln!("error: {fault}");
        return Exit::Usage.into();
    }
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(cli.run(&environment)));
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            anstream::eprintln!("error: {error:#}");
            if let Some(remedy) = remedy(&error) {
                anstream::eprintln!("       {remedy}");
            }
            Exit::of_error(&error).into()
        }
    }
}

/// What the operator can do about the database, which a pass has in its report.
fn remedy(error: &anyhow::Error) -> Option<&'static str> {
    error
        .chain()
        .find_map(|cause| cause.downcast_ref::<store::Error>())
        .and_then(store::Error::remedy)
}
