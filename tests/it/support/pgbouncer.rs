//! PgBouncer in transaction mode in front of a test's database.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStderr, Command, Stdio},
    str::FromStr,
    sync::mpsc,
    thread,
    time::Duration,
};

use nix::unistd::{User, geteuid};
use sqlx::postgres::PgConnectOptions;
use tempfile::TempDir;
use url::Url;

use super::{TestDb, environment};

/// A running PgBouncer, stopped on drop and, by the end of its standard input, with this process.
#[derive(Debug)]
pub(crate) struct PgBouncer {
    process: Child,
    database: String,
    /// Its socket and its configuration.
    dir: TempDir,
}

/// Where Debian has it, for those whose PATH is a user's.
const SBIN: &str = "/usr/sbin";

const START_LIMIT: Duration = Duration::from_secs(30);

const PORT: u16 = 6432;

impl PgBouncer {
    pub(crate) fn start(db: &TestDb) -> Self {
        let program = program().expect("these tests need PgBouncer: apt-get install pgbouncer");
        let dir = tempfile::Builder::new()
            .prefix("pgb-")
            .tempdir()
            .expect("the temporary directory takes another one");
        let config = dir.path().join("pgbouncer.ini");
        let url = Url::parse(&db.url()).expect("a test's database has an address");
        fs::write(&config, ini(&url, dir.path())).expect("the directory takes a file");
        let mut command = Command::new("/bin/sh");
        command
            .args([
                "-c",
                // At once: after a gentler signal it waits for transactions, which a failed test never ends.
                r#""$@" </dev/null & read -r _; kill -KILL $!; wait"#,
                "pgbouncer",
            ])
            .arg(program)
            .arg(config)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        run_as_nobody_if_root(&mut command, dir.path());
        let mut process = command.spawn().expect("there is a shell");
        wait_until_up(process.stderr.take().expect("standard error is piped"));
        Self {
            process,
            database: url.path().trim_start_matches('/').to_owned(),
            dir,
        }
    }

    /// For `database.url`, together with `database.pgbouncer = true`.
    pub(crate) fn url(&self) -> String {
        let host = self.dir.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://calmirror@{host}:{PORT}/{}", self.database)
    }

    /// As they come from the address: 1.18 refuses the start-up parameter `extra_float_digits`, and loses prepared
    /// statements, which is for the product to know.
    pub(crate) fn connect_options(&self) -> PgConnectOptions {
        PgConnectOptions::from_str(&self.url()).expect("the address is one of Postgres")
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the shell can be waited for");
    }
}

fn program() -> Option<PathBuf> {
    let path = environment("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain([PathBuf::from(SBIN)])
        .map(|dir| dir.join("pgbouncer"))
        .find(|program| program.is_file())
}

fn ini(url: &Url, dir: &Path) -> String {
    let decoded = |text: &str| url_decoded(text).replace('\'', "''");
    let host = decoded(url.host_str().unwrap_or("localhost"));
    let password = url
        .password()
        .map(|password| format!(" password='{}'", decoded(password)))
        .unwrap_or_default();
    format!(
        "[databases]\n\
         * = host='{host}' port={port} user='{user}'{password}\n\
         [pgbouncer]\n\
         unix_socket_dir = {dir}\n\
         listen_port = {PORT}\n\
         auth_type = any\n\
         pool_mode = transaction\n",
        port = url.port().unwrap_or(5432),
        user = decoded(url.username()),
        dir = dir.display(),
    )
}

/// Percent-decoding by way of a form, in which a plus sign would be a space.
fn url_decoded(text: &str) -> String {
    let form = format!("v={}", text.replace('+', "%2B"));
    url::form_urlencoded::parse(form.as_bytes())
        .map(|(_, value)| value.into_owned())
        .collect()
}

/// Neither PgBouncer nor Postgres runs as root. The server's socket is open to its own user only, so that is who to be.
fn run_as_nobody_if_root(command: &mut Command, dir: &Path) {
    if !geteuid().is_root() {
        return;
    }
    let user = ["postgres", "nobody"]
        .iter()
        .find_map(|name| User::from_name(name).expect("users can be looked up"))
        .expect("there is a user that is not root");
    let (uid, gid) = (user.uid.as_raw(), user.gid.as_raw());
    for path in [dir.to_owned(), dir.join("pgbouncer.ini")] {
        chown(path, Some(uid), Some(gid)).expect("root can give files away");
    }
    command.uid(uid).gid(gid);
}

/// PgBouncer says "process up" after it has opened its sockets.
fn wait_until_up(stderr: ChildStderr) {
    let (lines, arrived) = mpsc::channel();
    thread::spawn(move || {
        // To the end: it would stop at a full pipe.
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            // Nobody listens once it is up.
            drop(lines.send(line));
        }
    });
    let mut log = String::new();
    while !log.contains("process up") {
        match arrived.recv_timeout(START_LIMIT) {
            Ok(line) => log = format!("{log}{line}\n"),
            Err(error) => panic!("pgbouncer did not start ({error}):\n{log}"),
        }
        assert!(!log.contains("FATAL"), "pgbouncer did not start:\n{log}");
    }
}

#[tokio::test]
async fn a_query_goes_through_pgbouncer() {
    use sqlx::{Connection, Row, postgres::PgConnection};

    let db = TestDb::new().await;
    let bouncer = PgBouncer::start(&db);
    let options = bouncer.connect_options().extra_float_digits(None);
    let mut connection = PgConnection::connect_with(&options)
        .await
        .expect("pgbouncer takes connections");
    let row = sqlx::raw_sql("SELECT current_database()")
        .fetch_one(&mut connection)
        .await
        .expect("the query goes through");
    assert!(
        db.url().contains(&row.get::<String, _>(0)),
        "another database answered"
    );
    connection.close().await.expect("the connection closes");
}
