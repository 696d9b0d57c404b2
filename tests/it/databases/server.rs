//! A Postgres server of a test's own, which can crash, come back, and have a standby.

use std::{
    fs,
    os::unix::{fs::MetadataExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use calmirror::embedded::{Embedded, Options};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sqlx::{
    PgPool,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use crate::support::process::until;

/// Longer than a busy machine needs to stop a server.
/// Its directory goes with it.
pub(super) struct Server {
    dir: PathBuf,
    embedded: Embedded,
}

impl Server {
    pub(super) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    pub(super) async fn start_with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("calmirror-server-")
            .tempdir()
            .expect("the temporary directory takes another one");
        Self::start_in(dir.keep(), settings).await
    }

    async fn start_in(dir: PathBuf, settings: &[(&str, &str)]) -> Self {
        let mut options = Options::ephemeral(&dir);
        // What was committed must survive a crash of the server, though not one of the machine.
        options.settings = [("synchronous_commit", "on")]
            .iter()
            .chain(settings)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let embedded = Embedded::start(options)
            .await
            .unwrap_or_else(|error| panic!("{error}"));
        Self { dir, embedded }
    }

    /// A copy of this server that follows it, and can be promoted.
    pub(super) async fn standby(&self) -> Self {
        let dir = tempfile::Builder::new()
            .prefix("calmirror-standby-")
            .tempdir()
            .expect("the temporary directory takes another one")
            .keep();
        let (uid, gid) = self.owner();
        std::os::unix::fs::chown(&dir, Some(uid), Some(gid)).expect("it is ours to give");
        let psql = self.embedded.psql_command();
        let psql = psql.split(' ').next().expect("the line begins with the program");
        let status = Command::new(Path::new(psql).with_file_name("pg_basebackup"))
            .arg("--pgdata")
            .arg(dir.join("data"))
            .args(["--checkpoint=fast", "--no-sync", "--write-recovery-conf"])
            .arg("--host")
            .arg(self.socket_dir())
            .args(["--username", "calmirror"])
            .current_dir(&dir)
            .uid(uid)
            .gid(gid)
            .status()
            .expect("it is installed with the server");
        assert!(status.success(), "pg_basebackup: {status}");
        // By this file an embedded server's directory is known.
        fs::write(dir.join("lock"), "").expect("the directory takes a file");
        Self::start_in(dir, &[]).await
    }

    fn socket_dir(&self) -> PathBuf {
        let options = self.connect_options();
        options.get_socket().expect("it listens on a socket").clone()
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.socket_dir().join(".s.PGSQL.5432")
    }

    pub(super) fn connect_options(&self) -> PgConnectOptions {
        self.embedded.connect_options()
    }

    /// The user and the group that it runs as.
    pub(super) fn owner(&self) -> (u32, u32) {
        let data = self.dir.join("data").metadata().expect("the cluster is there");
        (data.uid(), data.gid())
    }

    /// Connections of the test's own, which are made again when they break.
    pub(super) async fn pool(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(5)
            .connect_with(self.connect_options())
            .await
            .expect("the server takes connections")
    }

    /// Stops the server as a crash would: nothing is said to clients, nothing is written.
    pub(super) async fn crash(&self) {
        let postmaster = postmaster(&self.dir);
        kill(postmaster, Signal::SIGQUIT).expect("it can be signalled");
        until("the server ends", || kill(postmaster, None).is_err()).await;
    }

    pub(super) async fn restart(&mut self) {
        let revived = self.embedded.revive().await;
        assert!(
            revived.unwrap_or_else(|error| panic!("{error}")),
            "the server had not ended"
        );
    }

    pub(super) async fn stop(self) {
        if let Err(error) = self.embedded.stop().await {
            panic!("the server does not stop: {error:?}");
        }
    }
}

/// The server's process in a data directory.
pub(super) fn postmaster(dir: &Path) -> Pid {
    let text = fs::read_to_string(dir.join("data/postmaster.pid")).expect("a running server has a pid file");
    let pid = text.lines().next().and_then(|line| line.parse().ok());
    Pid::from_raw(pid.expect("its first line is a number"))
}
