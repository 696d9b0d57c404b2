//! `calmirror simulate`: the simulator as a process of its own.

mod handout;

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    path::PathBuf,
    time::Duration,
};

use anyhow::Context as _;
use handout::{Handout, UserFiles};
use tokio_util::sync::CancellationToken;

use super::{Output, argument};
use crate::simulator::{Faults, RateLimit, ReadLag, Simulator, SimulatorConfig};

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

    /// Members of the clients' organisation, number 1, who are no managed users
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub plain_members: usize,

    /// Delay of every answer, as in 20ms
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub latency: Duration,

    /// Share of requests, 0 to 1, that get a 500 or 502
    #[arg(long, value_name = "SHARE", default_value_t = 0.0, value_parser = parse_share)]
    pub error_rate: f64,

    /// How long a write stays invisible to reads, as in 500ms
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = humantime::parse_duration)]
    pub read_lag: Duration,

    /// Change one user each so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub change_every: u64,

    /// Requests in a window for each client id; 0 for no limit
    #[arg(long, value_name = "N", alias = "requests-per-minute", default_value_t = RateLimit::default().per_client)]
    pub rate_limit: u32,

    /// How long a window of the rate limit is
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub window: Duration,

    /// How long whoever goes over the rate limit is refused
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse_time)]
    pub block: Duration,

    /// Write each client's user ids to a file in this directory, for `users_file`
    #[arg(long, value_name = "DIR", value_parser = argument::path())]
    pub users_dir: Option<PathBuf>,

    /// Write the users' addresses beside their ids, as CSV
    #[arg(long, requires = "users_dir")]
    pub emails: bool,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("not a number between 0 and 1".to_owned()),
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(time) if time.is_zero() => Err("must be longer than nothing".to_owned()),
        Ok(time) => Ok(time),
        Err(error) => Err(error.to_string()),
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
            plain_members: args.plain_members,
            rate_limit: RateLimit {
                per_client: args.rate_limit,
                window: args.window,
                block: args.block,
                ..RateLimit::default()
            },
            faults: Faults {
                latency: args.latency,
                error_rate: args.error_rate,
                read_lag: match args.read_lag {
                    Duration::ZERO => ReadLag::None,
                    lag => ReadLag::Time(lag),
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
pub async fn run(
    args: &SimulateArgs,
    format: Output,
    out: &mut impl Write,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let simulator = Simulator::start(args.into()).await?;
    let clients = simulator.clients();
    let files = args.users_dir.as_deref().map(|dir| UserFiles {
        dir,
        emails: args.emails,
    });
    if let Some(files) = &files {
        files
            .write(&simulator, &clients)
            .with_context(|| format!("failed to write the users to {}", files.dir.display()))?;
    }
    match format {
        Output::Text => {
            out.write_all(handout::paste(&simulator.base_url(), &clients, files.as_ref()).as_bytes())?;
        }
        Output::Json => {
            let handout = Handout::of(simulator.base_url(), &clients, files.as_ref());
            writeln!(out, "{}", serde_json::to_string(&handout)?)?;
        }
    }
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
        run(&args, Output::Text, &mut Out(written.clone(), stop.clone()), stop)
            .await
            .expect("it starts and stops");
        let printed = String::from_utf8(written.lock().expect("nobody panicked").clone()).expect("text");
        assert!(printed.contains("[calcom]\nbase_url = \"http://127.0.0.1:"));
        assert!(printed.contains("export CAL_SECRET_GLOBEX="));
        let ids = std::fs::read_to_string(users_dir.join("users-acme.txt")).expect("the file is there");
        assert_eq!(ids.lines().filter(|line| line.parse::<i64>().is_ok()).count(), 60);
    }

    #[tokio::test]
    async fn addresses_are_written_beside_the_ids() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut args = args(&[
            "--port=0",
            "--users=3",
            "--clients=1",
            "--users-dir=x",
            "--emails",
        ]);
        args.users_dir = Some(dir.path().to_owned());
        let stop = CancellationToken::new();
        let written = Arc::new(Mutex::new(Vec::new()));
        run(&args, Output::Text, &mut Out(written.clone(), stop.clone()), stop)
            .await
            .expect("it starts and stops");
        let printed = String::from_utf8(written.lock().expect("nobody panicked").clone()).expect("text");
        assert!(printed.contains("users-acme.csv\"\n"), "{printed}");
        let csv = std::fs::read_to_string(dir.path().join("users-acme.csv")).expect("the file is there");
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("user_id,email"));
        for line in lines.by_ref().take(3) {
            let (id, email) = line.split_once(',').expect("two columns");
            assert!(
                id.parse::<i64>().is_ok() && email.contains('@') && !email.contains('+'),
                "{line}"
            );
        }
        assert_eq!(lines.next(), None);
    }

    #[test]
    fn times_are_written_as_people_do() {
        let args = args(&[
            "--latency=20ms",
            "--window=2s",
            "--block=1m 30s",
            "--rate-limit=9",
            "--read-lag=0s",
        ]);
        let config = SimulatorConfig::from(&args);
        assert_eq!(config.faults.latency, Duration::from_millis(20));
        assert_eq!(config.faults.read_lag, ReadLag::None);
        let limit = RateLimit {
            per_client: 9,
            window: Duration::from_secs(2),
            block: Duration::from_secs(90),
            ..RateLimit::default()
        };
        assert_eq!(config.rate_limit, limit);
        for bad in ["0s", "5", "soon"] {
            assert!(parse_time(bad).is_err(), "{bad} is no time");
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_said() {
        let taken = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = taken.local_addr().expect("it is bound").port();
        let args = args(&[&format!("--port={port}"), "--users=1"]);
        let error = run(&args, Output::Text, &mut Vec::new(), CancellationToken::new())
            .await
            .expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("failed to listen on 127.0.0.1:{port}"));
        let failure = crate::cli::Failure::of(&error);
        assert_eq!(
            failure.remedy.as_deref(),
            Some("--port names another one; 0 is any that is free")
        );
    }
}
