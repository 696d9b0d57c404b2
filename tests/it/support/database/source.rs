//! Where the tests' Postgres comes from: `DATABASE_URL`, else a container, else one of our own.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use calmirror::embedded::{Embedded, Options};
use sqlx::ConnectOptions;
use testcontainers::{
    GenericImage, ImageExt, TestcontainersError,
    core::{IntoContainerPort, WaitFor, wait::LogWaitStrategy},
    runners::AsyncRunner,
};
use url::Url;

use super::say;
use crate::support::environment;

/// A Postgres server for this process; it goes when the process ends, however that is, unless it is somebody else's.
#[derive(Debug)]
pub(super) enum Source {
    /// `DATABASE_URL`.
    Shared { url: Url },
    Container {
        url: Url,
        #[expect(
            dead_code,
            reason = "it removes the container when its standard input is closed"
        )]
        remover: Option<Child>,
    },
    Embedded {
        url: Url,
        #[expect(dead_code, reason = "the server runs as long as this is there")]
        server: Embedded,
    },
}

/// Nothing of the tests is worth a wait for the disk.
const FAST: [(&str, &str); 4] = [
    ("fsync", "off"),
    ("full_page_writes", "off"),
    ("synchronous_commit", "off"),
    ("max_connections", "200"),
];

impl Source {
    /// Says on standard error which one it is.
    pub(super) async fn choose() -> Self {
        if let Some(url) = environment("DATABASE_URL") {
            say("test databases: on the server of DATABASE_URL");
            let url = Url::parse(&url).expect("DATABASE_URL is an address");
            return Self::Shared { url };
        }
        match container().await {
            Ok(source) => {
                say("test databases: in a container of postgres:16-alpine");
                source
            }
            Err(error) => {
                let source = embedded().await;
                // The first line: the rest is about sockets that nobody has asked for.
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                say(&format!(
                    "test databases: on an embedded server (no container: {why})"
                ));
                source
            }
        }
    }

    /// The database to connect to for creating others.
    pub(super) fn url(&self) -> &Url {
        match self {
            Self::Shared { url } | Self::Container { url, .. } | Self::Embedded { url, .. } => url,
        }
    }

    /// Whether the server stays when this process ends.
    pub(super) fn is_shared(&self) -> bool {
        matches!(self, Self::Shared { .. })
    }
}

async fn container() -> Result<Source, TestcontainersError> {
    // The image starts a server once for its own preparations, and then for us.
    let ready = LogWaitStrategy::stderr("database system is ready to accept connections").with_times(2);
    let command = FAST
        .iter()
        .flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]);
    let container = GenericImage::new("postgres", "16-alpine")
        .with_exposed_port(5432.tcp())
        .with_wait_for(WaitFor::log(ready))
        .with_env_var("POSTGRES_USER", "calmirror")
        .with_env_var("POSTGRES_PASSWORD", "calmirror")
        .with_cmd(std::iter::once("postgres".to_owned()).chain(command))
        .start()
        .await?;
    let host = container.get_host().await?;
    let port = container.get_host_port_ipv4(5432).await?;
    let url = Url::parse(&format!("postgres://calmirror:calmirror@{host}:{port}/calmirror"))
        .expect("host and port make an address");
    // Its own clean-up would run with this runtime, which ends before the tests do.
    let remover = remover(container.id());
    std::mem::forget(container);
    Ok(Source::Container { url, remover })
}

/// `None` where there is no command line for the engine; the container then stays behind.
fn remover(container: &str) -> Option<Child> {
    let spawned = Command::new("/bin/sh")
        .args([
            "-c",
            r#"read -r _; exec docker rm --force --volumes "$1""#,
            "remover",
            container,
        ])
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    spawned.ok()
}

async fn embedded() -> Source {
    let dir = tempfile::Builder::new()
        .prefix("calmirror-test-")
        .tempdir()
        .expect("the temporary directory takes another one");
    let mut options = Options::ephemeral(dir.keep());
    options.settings = FAST
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    let server = Embedded::start(options)
        .await
        .unwrap_or_else(|error| panic!("{error}"));
    let url = server.connect_options().to_url_lossy();
    Source::Embedded { url, server }
}
