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
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    give_large_blocks_back();
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

/// Takes large blocks of memory from the system, and gives them back as soon as they are free. By itself glibc raises its bound each time
/// that a larger block is freed; what one large answer took would then stay with the process, and be of little use to it. What
/// `MALLOC_MMAP_THRESHOLD_` and `MALLOC_TRIM_THRESHOLD_` say counts no more.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn give_large_blocks_back() {
    const LARGE: libc::c_int = 1024 * 1024;
    #[expect(
        unsafe_code,
        reason = "nobody else offers this, but the environment of the process"
    )]
    // SAFETY: it takes two numbers, and there is no other thread yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 4 * LARGE);
    }
}
