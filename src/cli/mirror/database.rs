//! The database that a configuration names, an embedded one among them.

use std::sync::Arc;

use anyhow::Context as _;
use tokio::sync::Mutex;

use crate::{
    config::{self, DatabaseUrl},
    embedded::{self, Embedded},
    store::{self, Settings, Store},
    sync::with_retries,
};

/// The database of a configuration, with the embedded server if it is one.
#[derive(Debug)]
pub struct Database {
    pub store: Store,
    /// For the HTTP server.
    pub(super) looking_on: Store,
    /// Two configurations may share it, for as long as a pass of the first is under way.
    embedded: Option<Arc<Local>>,
}

/// An embedded server.
#[derive(Debug)]
struct Local {
    server: Mutex<Embedded>,
    psql: String,
}

impl Database {
    /// Opens the database. An embedded server is started, or joined; any other is connected to when it is first used.
    ///
    /// # Errors
    ///
    /// When the embedded server cannot be started or the address cannot be parsed.
    pub async fn open(config: &config::Database) -> anyhow::Result<Self> {
        let settings = settings(config);
        match &config.url {
            DatabaseUrl::Postgres(url) => {
                let store = Store::open_url(url, &settings)?;
                Ok(Self {
                    looking_on: store.looking_on(),
                    store,
                    embedded: None,
                })
            }
            DatabaseUrl::Embedded { data_dir } => {
                let server = Embedded::start(embedded::Options::durable(data_dir))
                    .await
                    .context("the embedded Postgres does not start")?;
                let store = Store::open(server.connect_options(), &settings);
                Ok(Self {
                    looking_on: store.looking_on(),
                    store,
                    embedded: Some(Arc::new(Local {
                        psql: server.psql_command(),
                        server: Mutex::new(server),
                    })),
                })
            }
        }
    }

    /// The same server under other settings, with connections of its own.
    pub(super) async fn reopen(&self, config: &config::Database) -> anyhow::Result<Self> {
        let Some(local) = &self.embedded else {
            return Self::open(config).await;
        };
        let options = local.server.lock().await.connect_options();
        let store = Store::open(options, &settings(config));
        Ok(Self {
            looking_on: store.looking_on(),
            store,
            embedded: Some(Arc::clone(local)),
        })
    }

    /// The same, on which Postgres refuses whatever would write.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            store: self.store.read_only(),
            looking_on: self.looking_on.clone(),
            embedded: self.embedded.clone(),
        }
    }

    /// Tells nobody on a channel of Postgres what is written, from now on, unless the configuration has it so.
    pub fn tell_as(&mut self, notify: &config::Notify) {
        if !notify.postgres {
            self.store = self.store.clone().silent();
        }
    }

    /// The line that opens a shell on an embedded database.
    pub fn psql_command(&self) -> Option<String> {
        self.embedded.as_ref().map(|local| local.psql.clone())
    }

    /// Whether the server is our own.
    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// Makes the database ready for a pass: an embedded server that ended by itself is started again, and tables that are
    /// missing are made. Asked before each pass, since either can be lost while the daemon runs.
    pub(super) async fn prepare(&self) -> Result<(), store::Error> {
        self.revive().await?;
        with_retries(|| self.store.migrate()).await.map(drop)
    }

    /// Starts an embedded server again that ended by itself.
    pub(in crate::cli) async fn revive(&self) -> Result<(), store::Error> {
        if let Some(local) = &self.embedded {
            let mut server = local.server.lock().await;
            match server.revive().await {
                Ok(false) => {}
                Ok(true) => {
                    tracing::warn!("the embedded Postgres had ended and was started again");
                    self.store.reconnect(server.connect_options());
                    self.looking_on.reconnect(server.connect_options());
                }
                Err(error) => {
                    let text = format!("{:#}", anyhow::Error::from(error));
                    return Err(store::Error::Unavailable(format!(
                        "the embedded Postgres does not start: {}",
                        text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
                    )));
                }
            }
        }
        Ok(())
    }

    /// Closes the connections, and stops the embedded server unless somebody else uses it.
    pub async fn close(self) {
        tokio::join!(self.store.close(), self.looking_on.close());
        if let Some(local) = self.embedded.and_then(Arc::into_inner)
            && let Err(error) = local.server.into_inner().stop().await
        {
            tracing::warn!(error = %error, "the embedded Postgres did not stop");
        }
    }
}

fn settings(config: &config::Database) -> Settings {
    Settings {
        schema: config.schema.clone(),
        max_connections: config.max_connections,
        pgbouncer: config.pgbouncer,
    }
}
