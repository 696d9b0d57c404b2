//! `calmirror simulate`: the simulator as a process of its own.

use std::{
    fmt::Write as _,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use crate::simulator::{ClientInfo, Faults, RateLimit, ReadLag, Simulator, SimulatorConfig};

/// Serve a stand-in for Cal.com with invented users, the same ones at every start
#[derive(Clone, Debug, clap::Args)]
pub struct SimulateArgs {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub host: IpAddr,

    /// Port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 5555)]
    pub port: u16,

    /// Managed users of each client
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub users: usize,

    /// OAuth clients
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..))]
    pub clients: usize,

    /// What the users, ids and secrets follow from
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,

    /// Delay of every answer
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub latency_ms: u64,

    /// Share of requests, 0 to 1, that get a 500 or 502
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    pub error_rate: f64,

    /// How long a write stays invisible to reads
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub read_lag_ms: u64,

    /// Change one user each so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub change_every: u64,

    /// Requests a minute for each client id; 0 for no limit
    #[arg(long, value_name = "N", default_value_t = RateLimit::default().per_client)]
    pub requests_per_minute: u32,

    /// Write each client's user ids to a file in this directory, for `users_file`
    #[arg(long, value_name = "DIR")]
    pub users_dir: Option<PathBuf>,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a number between 0 and 1".to_owned()),
    }
}

impl From<&SimulateArgs> for SimulatorConfig {
    fn from(args: &SimulateArgs) -> Self {
        Self {
            host: args.host,
            port: args.port,
            seed: args.seed,
            clients: args.clients,
            users_per_client: args.users,
            rate_limit: RateLimit {
                per_client: args.requests_per_minute,
                ..RateLimit::default()
            },
            faults: Faults {
                latency: Duration::from_millis(args.latency_ms),
                error_rate: args.error_rate,
                read_lag: match args.read_lag_ms {
                    0 => ReadLag::None,
                    millis => ReadLag::Time(Duration::from_millis(millis)),
                },
            },
            ..Self::default()
        }
    }
}

/// Serves until `stop` is cancelled. What a config needs goes to `out` first.
///
/// # Errors
/// Where the port is taken, or the files of user ids or `out` cannot be written.
pub async fn run(args: &SimulateArgs, out: &mut impl Write, stop: CancellationToken) -> anyhow::Result<()> {
    let simulator = Simulator::start(args.into()).await?;
    let clients = simulator.clients();
    if let Some(dir) = &args.users_dir {
        write_users(dir, &clients)
            .with_context(|| format!("failed to write the user ids to {}", dir.display()))?;
    }
    out.write_all(paste(&simulator.base_url(), &clients, args.users_dir.as_deref()).as_bytes())?;
    out.flush()?;
    match args.change_every {
        0 => stop.cancelled().await,
        seconds => tokio::select! {
            () = stop.cancelled() => {}
            changed = simulator.live(Duration::from_secs(seconds)) => changed?,
        },
    }
    simulator.shutdown().await?;
    Ok(())
}

/// More ids than this in one line help nobody.
const MAX_INLINE_USERS: usize = 50;

fn users_file(dir: &Path, client: &ClientInfo) -> PathBuf {
    dir.join(format!("users-{}.txt", client.name))
}

fn write_users(dir: &Path, clients: &[ClientInfo]) -> std::io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for client in clients {
        let ids: String = client.users.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(users_file(dir, client), ids)?;
    }
    Ok(())
}

const CONFIG_HEADING: &str = "# For config.toml:";
const SHELL_HEADING: &str = "# For the shell that runs calmirror:";

/// What a person pastes: a config's sections, then the secrets for the shell.
fn paste(base_url: &str, clients: &[ClientInfo], users_dir: Option<&Path>) -> String {
    let mut text = format!("{CONFIG_HEADING}\n[calcom]\n");
    let mut exports = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        text.write_fmt(line).expect("writing to a string does not fail");
        text.push('\n');
    };
    line(format_args!("base_url = \"{base_url}\""));
    for client in clients {
        let variable = format!("CAL_SECRET_{}", client.name.to_uppercase().replace('-', "_"));
        line(format_args!("\n[[clients]]"));
        line(format_args!("name = \"{}\"", client.name));
        line(format_args!("id = \"{}\"", client.id));
        line(format_args!("secret = {{ env = \"{variable}\" }}"));
        match users_dir {
            Some(dir) => {
                // A JSON string is a TOML one as well.
                let file = serde_json::Value::from(users_file(dir, client).to_string_lossy());
                line(format_args!("users_file = {file}"));
            }
            None if client.users.len() <= MAX_INLINE_USERS => {
                let ids: Vec<String> = client.users.iter().map(i64::to_string).collect();
                line(format_args!("users = [{}]", ids.join(", ")));
            }
            None => line(format_args!(
                "users_file = \"users-{}.txt\" # {} ids; start with `--users-dir .` to have it written",
                client.name,
                client.users.len()
            )),
        }
        writeln!(exports, "export {variable}={}", client.secret).expect("writing to a string does not fail");
    }
    format!("{text}\n{SHELL_HEADING}\n{exports}\n# Serving until Ctrl-C.\n")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(flatten)]
        args: SimulateArgs,
    }

    fn args(given: &[&str]) -> SimulateArgs {
        let given = std::iter::once("simulate").chain(given.iter().copied());
        <Cli as clap::Parser>::parse_from(given).args
    }

    fn client(name: &str, users: i64) -> ClientInfo {
        ClientInfo {
            name: name.to_owned(),
            id: format!("cl-{name}"),
            secret: format!("secret-of-{name}"),
            users: (1..=users).collect(),
        }
    }

    #[test]
    fn a_few_users_are_listed_and_many_are_left_to_a_file() {
        let clients = [client("acme", 3), client("client-9", 51)];
        let printed = paste("http://127.0.0.1:5555", &clients, None);
        insta::assert_snapshot!(printed, @r#"
        # For config.toml:
        [calcom]
        base_url = "http://127.0.0.1:5555"

        [[clients]]
        name = "acme"
        id = "cl-acme"
        secret = { env = "CAL_SECRET_ACME" }
        users = [1, 2, 3]

        [[clients]]
        name = "client-9"
        id = "cl-client-9"
        secret = { env = "CAL_SECRET_CLIENT_9" }
        users_file = "users-client-9.txt" # 51 ids; start with `--users-dir .` to have it written

        # For the shell that runs calmirror:
        export CAL_SECRET_ACME=secret-of-acme
        export CAL_SECRET_CLIENT_9=secret-of-client-9

        # Serving until Ctrl-C.
        "#);
    }

    #[test]
    fn what_is_for_the_config_is_toml() {
        let clients = [client("acme", 3)];
        let dir = Path::new("/srv/cal \"x\" \\ y");
        let printed = paste("http://127.0.0.1:5555", &clients, Some(dir));
        let (config, _) = printed
            .split_once(SHELL_HEADING)
            .expect("the shell's part follows");
        let config: toml::Table = toml::from_str(config).expect("the config's part is TOML");
        let file = config["clients"][0]["users_file"].as_str();
        assert_eq!(file, dir.join("users-acme.txt").to_str());
    }

    #[test]
    fn a_share_is_between_0_and_1() {
        assert_eq!(parse_share("0.25"), Ok(0.25));
        for bad in ["1.1", "-0.1", "NaN", "many"] {
            assert!(parse_share(bad).is_err(), "{bad} is no share");
        }
    }

    /// Takes what is written, and stops the command at the first flush.
    struct Out(Arc<Mutex<Vec<u8>>>, CancellationToken);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("nobody panicked").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            self.1.cancel();
            Ok(())
        }
    }

    #[tokio::test]
    async fn it_writes_the_users_prints_and_stops() {
        let dir = tempfile::tempdir().expect("a directory");
        let users_dir = dir.path().join("users");
        let mut args = args(&["--port=0", "--users=60", "--clients=2"]);
        args.users_dir = Some(users_dir.clone());
        let stop = CancellationToken::new();
        let written = Arc::new(Mutex::new(Vec::new()));
        run(&args, &mut Out(written.clone(), stop.clone()), stop)
            .await
            .expect("it starts and stops");
        let printed = String::from_utf8(written.lock().expect("nobody panicked").clone()).expect("text");
        assert!(printed.contains("[calcom]\nbase_url = \"http://127.0.0.1:"));
        assert!(printed.contains("export CAL_SECRET_GLOBEX="));
        let ids = std::fs::read_to_string(users_dir.join("users-acme.txt")).expect("the file is there");
        assert_eq!(ids.lines().filter(|line| line.parse::<i64>().is_ok()).count(), 60);
    }

    #[tokio::test]
    async fn a_taken_port_is_said() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("it is bound").port();
        let args = args(&[&format!("--port={port}"), "--users=1"]);
        let error = run(&args, &mut Vec::new(), CancellationToken::new())
            .await
            .expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("failed to listen on 127.0.0.1:{port}"));
    }
}
