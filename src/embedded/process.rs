//! Starting the programs of Postgres: as the right user, and with nothing of our environment.

use std::{
    ffi::{OsStr, OsString},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::account::Account;
use crate::config::environment;

/// A program to be run.
///
/// Its environment is `PATH` and `LC_ALL=C` and what is added: ours may hold a client's secret, which the server's user
/// could read, and `PG…` variables that were meant for somebody else.
#[derive(Debug)]
pub(super) struct Program(Command);

/// What a program left behind.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

impl Program {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        let mut command = Command::new(path.into());
        command.env_clear().env("LC_ALL", "C").stdin(Stdio::null());
        if let Some(path) = environment::path() {
            command.env("PATH", path);
        }
        Self(command)
    }

    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.0.arg(arg);
        self
    }

    pub(super) fn args(mut self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.0.args(args.into_iter().map(Into::into));
        self
    }

    pub(super) fn env(mut self, name: &str, value: &str) -> Self {
        self.0.env(name, value);
        self
    }

    /// Runs as `account`, in a directory that it can enter: ours may be closed to it.
    pub(super) fn run_as(mut self, account: &Account, dir: &Path) -> Self {
        // Setting the user makes std drop the supplementary groups too, but only root may do so.
        if account.dropped {
            self.0.uid(account.uid).gid(account.gid);
        }
        self.0.current_dir(dir);
        self
    }

    pub(super) fn into_command(self) -> Command {
        self.0
    }

    /// Runs it to its end; it is killed if the future is dropped.
    pub(super) async fn output(self) -> io::Result<Output> {
        let mut command = tokio::process::Command::from(self.0);
        let output = command.kill_on_drop(true).output().await?;
        Ok(Output {
            success: output.status.success(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}
