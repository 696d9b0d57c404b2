//! The command line: parse it, run the command, turn what came of it into an exit code.

use std::process::ExitCode;

use calmirror::{
    cli::{
        Cli, Failure, Output,
        exit::{Exit, is_closed_pipe},
    },
    config::Environment,
    shutdown::LAST_THREADS,
};

fn main() -> ExitCode {
    let cli = match Cli::read() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && Output::of_arguments() == Output::Json => {
            Failure::of_arguments(&error).tell(Output::Json);
            return Exit::Usage.into();
        }
        Err(error) => error.exit(),
    };
    let output = cli.output();
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
        .and_then(|runtime| {
            let result = runtime.block_on(cli.run(&environment));
            // A thread that hangs in a look-up or in a file would be waited for without end.
            runtime.shutdown_timeout(LAST_THREADS);
            result
        });
    match result {
        Ok(exit) => exit.into(),
        Err(error) if is_closed_pipe(&error) => Exit::Success.into(),
        Err(error) => {
            Failure::of(&error).tell(output);
            Exit::of_error(&error).into()
        }
    }
}
