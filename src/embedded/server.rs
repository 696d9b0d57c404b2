//! A server process under its supervisor.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgConnection, PgSslMode},
};
use tokio::sync::watch;

use super::{
    Options, account::Account, cluster, error::Error, home::Home, installation::Installation,
    patience::Patience, postmaster::Postmaster, process::Program, share::Share,
};

/// Longer than recovery from a crash of a mirror of some millions of users.
const START_LIMIT: Duration = Duration::from_secs(120);

/// Whether the supervisor, and with it the server, has ended.
pub(super) type Ended = watch::Receiver<bool>;

/// A server that we have started.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) share: Share,
    pub(super) ended: Ended,
    pub(super) socket_dir: PathBuf,
}

/// What it takes to start a server on a cluster that exists and that no server uses.
#[derive(Debug)]
pub(super) struct Launch<'a> {
    pub(super) home: &'a Home,
    pub(super) account: &'a Account,
    pub(super) installation: &'a Installation,
    pub(super) options: &'a Options,
}

impl Launch<'_> {
    pub(super) async fn start(&self) -> Result<Server, Error> {
        let mut patience = Patience::of(START_LIMIT);
        loop {
            match self.try_start().await {
                // The children of a server that was killed take a moment to notice.
                Err(Error::Server { log, .. })
                    if log.contains("shared memory block")
                        && log.contains("still in use")
                        && patience.wait().await => {}
                result => return result,
            }
        }
    }

    async fn try_start(&self) -> Result<Server, Error> {
        let socket_dir = self.home.socket_dir(self.account)?;
        let log = self.home.new_log(self.account)?;
        let stale = Postmaster::read(self.home)?;
        let (reader, share) = Share::create(self.home, self.account)?;
        let ended = self
            .spawn(&socket_dir, stale.as_ref(), reader, &log)
            .map_err(Error::io("run", self.installation.program("postgres")))?;
        let mut server = Server {
            share,
            ended,
            socket_dir,
        };
        self.wait_until_ready(&mut server, &log).await?;
        Ok(server)
    }

    fn spawn(
        &self,
        socket_dir: &Path,
        stale: Option<&Postmaster>,
        reader: File,
        log: &File,
    ) -> io::Result<Ended> {
        let ephemeral = if self.options.ephemeral { "yes" } else { "no" };
        let mut program = Program::new("/bin/sh")
            .args(["-c", include_str!("supervisor.sh"), "calmirror-postgres"])
            .arg(&self.home.dir)
            .arg(socket_dir)
            .arg(ephemeral)
            .arg(self.installation.program("postgres"))
            .arg("-D")
            .arg(self.home.data());
        for (name, value) in settings(socket_dir, self.options.durable)
            .iter()
            .chain(&self.options.settings)
        {
            program = program.arg("-c").arg(format!("{name}={value}"));
        }
        if let Some(stale) = stale {
            // No server of this cluster has that number any more, but another process may have it, and would keep
            // Postgres from starting. Removing the file instead would take Postgres's other check away as well, that no
            // child of the crashed server is left. pg_ctl uses this variable for a like purpose.
            program = program.env("PG_GRANDPARENT_PID", &stale.pid.to_string());
        }
        let mut command = program.run_as(self.account, &self.home.dir).into_command();
        command
            // Ctrl-C at the terminal is for us, who stop the server when its last user is gone.
            .process_group(0)
            .stdin(reader)
            .stdout(log.try_clone()?)
            .stderr(log.try_clone()?);
        let mut supervisor = command.spawn()?;
        let (sender, ended) = watch::channel(false);
        std::thread::Builder::new()
            .name("postgres".to_owned())
            .spawn(move || {
                // No runtime: the server may outlive the one that it was started on. How it ended is in its log.
                drop(supervisor.wait());
                sender.send_replace(true);
            })?;
        Ok(ended)
    }

    async fn wait_until_ready(&self, server: &mut Server, log: &File) -> Result<(), Error> {
        let options = connect_options(&server.socket_dir).database("postgres");
        let data_dir = self.home.dir.clone();
        tokio::select! {
            // An error means that the waiting thread is gone, which it is after the server only.
            _ = server.ended.wait_for(|ended| *ended) => Err(Error::Server { data_dir, log: tail(log) }),
            answer = answers(&options, START_LIMIT) => answer.map_err(|last| Error::NotReady {
                data_dir,
                waited: START_LIMIT,
                log: tail(log),
                last,
            }),
        }
    }
}

/// Waits until the server takes connections; gives its last refusal when it does not.
pub(super) async fn answers(options: &PgConnectOptions, limit: Duration) -> Result<(), Option<sqlx::Error>> {
    let mut patience = Patience::of(limit);
    let mut last = None;
    loop {
        match tokio::time::timeout(limit, PgConnection::connect_with(options)).await {
            Ok(Ok(connection)) => match connection.close().await {
                Ok(()) => return Ok(()),
                Err(error) => last = Some(error),
            },
            Ok(Err(error)) => last = Some(error),
            // Not even a refusal.
            Err(_) => return Err(last),
        }
        if !patience.wait().await {
            return Err(last);
        }
    }
}

/// How to connect to the mirror's database. What sqlx would take from PGHOST, PGUSER and their like is set here; only
/// PGAPPNAME and PGOPTIONS still count.
pub(super) fn connect_options(socket_dir: &Path) -> PgConnectOptions {
    PgConnectOptions::new_without_pgpass()
        .socket(socket_dir)
        .port(5432)
        .username(cluster::NAME)
        .database(cluster::NAME)
        .password("")
        .ssl_mode(PgSslMode::Disable)
        .disable_statement_logging()
}

/// Creates the mirror's database where it is missing.
pub(super) async fn create_database(socket_dir: &Path) -> Result<(), sqlx::Error> {
    let mut connection =
        PgConnection::connect_with(&connect_options(socket_dir).database("postgres")).await?;
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'calmirror')")
            .fetch_one(&mut connection)
            .await?;
    if !exists {
        sqlx::raw_sql("CREATE DATABASE calmirror")
            .execute(&mut connection)
            .await?;
    }
    connection.close().await
}

fn settings(socket_dir: &Path, durable: bool) -> Vec<(String, String)> {
    let socket_dir = socket_dir.to_string_lossy();
    let mut settings = vec![
        ("listen_addresses", ""),
        ("unix_socket_directories", &socket_dir),
        ("unix_socket_permissions", "0700"),
        ("port", "5432"),
        ("cluster_name", cluster::NAME),
        ("shared_buffers", "128MB"),
        ("max_connections", "100"),
        // A hardened unit forbids memory that can be written and run.
        ("jit", "off"),
        ("timezone", "UTC"),
        ("log_timezone", "UTC"),
        // The log is emptied at start only, and what it holds of statements and rows would be personal data.
        ("log_checkpoints", "off"),
        ("log_autovacuum_min_duration", "-1"),
        ("log_error_verbosity", "terse"),
        ("log_min_error_statement", "panic"),
    ];
    if !durable {
        settings.extend([
            ("fsync", "off"),
            ("full_page_writes", "off"),
            ("synchronous_commit", "off"),
        ]);
    }
    let own = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
    settings.into_iter().map(own).collect()
}

/// The end of the log, read through our own handle: the file may be gone by now.
fn tail(log: &File) -> String {
    const MAX_BYTES: u64 = 8 * 1024;
    let read = || -> io::Result<Vec<u8>> {
        let mut log = log;
        let length = log.seek(SeekFrom::End(0))?;
        log.seek(SeekFrom::Start(length.saturating_sub(MAX_BYTES)))?;
        let mut bytes = Vec::new();
        log.take(MAX_BYTES).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => last_lines(&String::from_utf8_lossy(&bytes)),
        Err(error) => format!("(the log could not be read: {error})"),
    }
}

/// As many of the last lines as a person wants to see in an error.
pub(super) fn last_lines(text: &str) -> String {
    const MAX_LINES: usize = 10;
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(MAX_LINES)..].join("\n")
}
