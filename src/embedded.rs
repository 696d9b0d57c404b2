//! A real Postgres of our own, for the demo, for first use and for tests: nothing to set up but its programs.
//!
//! The data directory holds the cluster (`data`), the server's log, the pipe through which its supervisor, a small shell
//! script, notices that the last process using the server is gone, however it went, and the file by whose lock a process that
//! stops tells whether others use it still. Postgres refuses to run as
//! root, so for root the server and its supervisor are the user `postgres`, else `nobody`.
//!
//! There is one server a data directory. A second process that wants it joins the first, and the server runs until both
//! are done.

mod account;
mod cluster;
mod error;
mod home;
mod installation;
mod patience;
mod postmaster;
mod process;
mod server;
mod share;

use std::{fs, io, path::PathBuf, time::Duration};

use sqlx::postgres::PgConnectOptions;

pub use error::Error;
pub use installation::{MIN_VERSION, Version};

use self::{
    account::Account,
    home::Home,
    installation::Search,
    patience::Patience,
    postmaster::Postmaster,
    server::{Ended, Launch},
    share::{Joined, Share},
};

/// A server that is there takes connections within this, unless it is recovering from a crash.
const JOIN_LIMIT: Duration = Duration::from_secs(120);

/// A fast shutdown writes all dirty buffers; 128 MB of them take a slow disk some seconds.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What kind of server is wanted. A server that already runs stays as it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// Created where it is missing; empty, or of an earlier start.
    pub data_dir: PathBuf,
    /// `false` for data that need not survive a crash of the machine.
    pub durable: bool,
    /// The data directory is removed when the server stops.
    pub ephemeral: bool,
    /// Settings of the server in addition to our own, and in their place where the names are the same.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// A server whose data are kept.
    pub fn durable(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            data_dir: data_dir.into(),
            durable: true,
            ephemeral: false,
            settings: Vec::new(),
        }
    }

    /// A server whose data are gone when it stops.
    pub fn ephemeral(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            durable: false,
            ephemeral: true,
            ..Self::durable(data_dir)
        }
    }
}

/// A running server, for as long as this value lives.
///
/// It needs no async runtime once it is started: it may outlive the one it was started on.
#[derive(Debug)]
pub struct Embedded {
    home: Home,
    account: Account,
    socket_dir: PathBuf,
    psql: String,
    options: Options,
    /// `None` for a server that somebody started by other means, who is the one to stop it.
    share: Option<Share>,
    /// `None` for a server that another process started.
    ended: Option<Ended>,
}

impl Embedded {
    /// Starts the server of a data directory, or joins the one that runs.
    ///
    /// # Errors
    /// Each says what to do. The server's own words are quoted where it refused to start.
    pub async fn start(options: Options) -> Result<Self, Error> {
        if !options.data_dir.exists() {
            // Before a directory is made for nothing, or is refused, as in an image with neither Postgres nor a place to write.
            Search::of_this_machine().choose(None, &options.data_dir).await?;
        }
        let account = Account::for_cluster(&options.data_dir.join("data"))?;
        let home = Home::prepare(&options.data_dir, &account)?;
        let lock = home.lock(&account).await?;
        let version = cluster::version(&home)?;
        let installation = Search::of_this_machine().choose(version, &home.dir).await?;
        let psql = installation.psql();
        let (socket_dir, share, ended) = match join(&home).await? {
            Some((socket_dir, share)) => (socket_dir, share, None),
            None => {
                if version.is_none() {
                    cluster::create(&home, &installation, &account, options.durable).await?;
                }
                let launch = Launch {
                    home: &home,
                    account: &account,
                    installation: &installation,
                    options: &options,
                };
                let server = launch.start().await?;
                (server.socket_dir, Some(server.share), Some(server.ended))
            }
        };
        server::create_database(&socket_dir)
            .await
            .map_err(|source| Error::Prepare {
                name: cluster::NAME,
                source,
            })?;
        drop(lock);
        Ok(Self {
            home,
            account,
            socket_dir,
            psql,
            options,
            share,
            ended,
        })
    }

    /// Starts the server again, or joins it, if ours has ended, as one that was killed has; `false` if it has not.
    ///
    /// # Errors
    /// As [`Embedded::start`]. It may be tried again.
    pub async fn revive(&mut self) -> Result<bool, Error> {
        // A server that somebody else has started since does not know that we use it.
        let pipe = self.home.share();
        let counted = self.share.as_ref().is_none_or(|share| share.is_of(&pipe));
        if counted
            && let Some(postmaster) = Postmaster::read(&self.home)?
            && postmaster.is_alive(&self.home).await
        {
            return Ok(false);
        }
        *self = Self::start(self.options.clone()).await?;
        Ok(true)
    }

    /// How to connect to the database `calmirror`, as its superuser of the same name.
    pub fn connect_options(&self) -> PgConnectOptions {
        server::connect_options(&self.socket_dir)
    }

    /// A line to paste into a shell of the same user, or of root.
    pub fn psql_command(&self) -> String {
        format!(
            "{} -h {} -U {name} {name}",
            self.psql,
            self.socket_dir.display(),
            name = cluster::NAME
        )
    }

    /// The server's log, which is emptied at each start.
    pub fn log_path(&self) -> PathBuf {
        self.home.log()
    }

    /// Whether another process had started the server.
    pub fn is_joined(&self) -> bool {
        self.ended.is_none()
    }

    /// Ends our use of the server; if nobody else uses it, waits until it has stopped.
    ///
    /// Dropping the value does the same without the waiting.
    ///
    /// # Errors
    /// When the server does not stop within a minute.
    pub async fn stop(mut self) -> Result<(), Error> {
        let Some(share) = self.share.take() else {
            return Ok(());
        };
        // Nobody joins while we look whether somebody else is there, or while the server stops.
        let lock = self.home.lock(&self.account).await?;
        drop(share);
        if share::is_used(&self.home)? {
            return Ok(());
        }
        match &mut self.ended {
            Some(ended) => {
                let wait = ended.wait_for(|ended| *ended);
                if tokio::time::timeout(STOP_LIMIT, wait).await.is_err() {
                    return Err(not_stopped(&self.home));
                }
            }
            None => wait_until_unsupervised(&self.home).await?,
        }
        if self.options.ephemeral {
            // The supervisor has emptied it, and could not remove it where its parent is closed to it.
            match fs::remove_dir_all(&self.home.dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", &self.home.dir)(error));
                }
                _ => {}
            }
        }
        drop(lock);
        Ok(())
    }
}

/// Joins the server of a data directory if there is one that goes on running; otherwise there is none any more.
///
/// Called under the lock, so that none is being started. The share is `None` where the server is not of our making.
async fn join(home: &Home) -> Result<Option<(PathBuf, Option<Share>)>, Error> {
    let joined = Share::join(home)?;
    let alive = match Postmaster::read(home)? {
        Some(postmaster) if postmaster.is_alive(home).await => Some(postmaster),
        _ => None,
    };
    match (joined, alive) {
        (Joined::Share(share), Some(_)) => return Ok(Some((reach(home).await?, Some(share)))),
        (Joined::Absent, Some(_)) if !home.stopping().exists() => {
            return Ok(Some((reach(home).await?, None)));
        }
        // Whoever started it was killed at once, and its supervisor is about to find out.
        (Joined::Share(share), None) => drop(share),
        (Joined::Unsupervised | Joined::Absent, Some(postmaster)) => {
            // It is stopping, or its supervisor was killed and nobody else would ever stop it.
            postmaster.interrupt()?;
            wait_until_gone(home, &postmaster).await?;
        }
        (Joined::Unsupervised | Joined::Absent, None) => {}
    }
    wait_until_unsupervised(home).await?;
    Ok(None)
}

/// The socket's directory of a running server, once it answers there.
async fn reach(home: &Home) -> Result<PathBuf, Error> {
    let not_ready = |last| Error::NotReady {
        data_dir: home.dir.clone(),
        waited: JOIN_LIMIT,
        log: fs::read_to_string(home.log())
            .map(|log| server::last_lines(&log))
            .unwrap_or_default(),
        last,
    };
    let mut patience = Patience::of(JOIN_LIMIT);
    loop {
        if let Some(socket_dir) = Postmaster::read(home)?.and_then(|postmaster| postmaster.socket_dir) {
            let options = server::connect_options(&socket_dir).database("postgres");
            return match server::answers(&options, JOIN_LIMIT).await {
                Ok(()) => Ok(socket_dir),
                Err(last) => Err(not_ready(last)),
            };
        }
        if !patience.wait().await {
            return Err(not_ready(None));
        }
    }
}

async fn wait_until_gone(home: &Home, postmaster: &Postmaster) -> Result<(), Error> {
    let mut patience = Patience::of(STOP_LIMIT);
    while postmaster.is_alive(home).await {
        if !patience.wait().await {
            return Err(not_stopped(home));
        }
    }
    Ok(())
}

/// Waits for the last deeds of a supervisor, which would otherwise be done to the next server.
async fn wait_until_unsupervised(home: &Home) -> Result<(), Error> {
    let mut patience = Patience::of(STOP_LIMIT);
    for pipe in [home.share(), home.stopping()] {
        while share::is_supervised(&pipe)? {
            if !patience.wait().await {
                return Err(not_stopped(home));
            }
        }
    }
    Ok(())
}

fn not_stopped(home: &Home) -> Error {
    Error::NotStopped {
        data_dir: home.dir.clone(),
        waited: STOP_LIMIT,
    }
}
