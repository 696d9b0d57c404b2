//! Children that say what they used, and that end when the benchmark does, however it ends.
//!
//! The standard library does not tell what one child has used, and what all children have used together is no peak of one. So
//! the benchmark starts itself once more for each child, as its only parent.

use std::{
    fs,
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    thread,
};

use anyhow::{Context as _, bail, ensure};
use nix::{
    sys::{
        resource::{UsageWho, getrusage},
        signal::{Signal, killpg},
        time::TimeVal,
    },
    unistd::Pid,
};
use serde::{Deserialize, Serialize};
use tokio::{io::AsyncReadExt, process::Command};

/// The first argument of a benchmark that is to be a child's parent.
const FLAG: &str = "--watch-one-child";

/// What a child, and the children that it waited for, have used.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Usage {
    pub(crate) cpu_s: f64,
    /// The most memory that one process held.
    pub(crate) peak_rss_bytes: u64,
}

/// What came of a child.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    /// The last lines.
    pub(crate) stderr: String,
    pub(crate) usage: Usage,
}

impl Ended {
    pub(crate) fn expect_success(self) -> anyhow::Result<Self> {
        ensure!(
            self.code == 0,
            "it ended with {}: {}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        Ok(self)
    }
}

/// A running child; killed with all that it started when this is dropped.
#[derive(Debug)]
pub(crate) struct Watched {
    child: tokio::process::Child,
    report: PathBuf,
    log: PathBuf,
}

impl Watched {
    /// Starts a program, with its standard output piped. `work` is for the files of this child: no other uses `name` meanwhile.
    pub(crate) fn start(work: &Path, name: &str, program: &[&str]) -> anyhow::Result<Self> {
        let report = work.join(format!("{name}.usage"));
        let log = work.join(format!("{name}.log"));
        let stderr = fs::File::create(&log).with_context(|| format!("failed to create {}", log.display()))?;
        let child = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .arg(&report)
            .args(program)
            .env_clear()
            .envs(["PATH", "HOME", "TMPDIR"].into_iter().filter_map(|name| {
                #[expect(clippy::disallowed_methods, reason = "a child is given nothing else of it")]
                Some((name, std::env::var_os(name)?))
            }))
            .current_dir(work)
            // It is open as long as the benchmark is there.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            // Ctrl-C at the terminal is for the benchmark.
            .process_group(0)
            .spawn()
            .with_context(|| format!("failed to start {}", program[0]))?;
        Ok(Self { child, report, log })
    }

    /// Waits until standard output holds `end`, and gives what came up to then, or more.
    pub(crate) async fn printed(&mut self, end: &str) -> anyhow::Result<String> {
        let pipe = self.child.stdout.as_mut().context("it is piped")?;
        let mut bytes = Vec::new();
        loop {
            let read = pipe.read_buf(&mut bytes).await?;
            let text = String::from_utf8_lossy(&bytes);
            if text.contains(end) {
                return Ok(text.into_owned());
            }
            if read == 0 {
                bail!("it ended early: {text}{}", last_lines(&self.log));
            }
        }
    }

    /// The process that is watched, once it has printed something.
    pub(crate) fn process(&self) -> anyhow::Result<u32> {
        let text = fs::read_to_string(&self.report)?;
        text.trim().parse().context("it has ended")
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> anyhow::Result<Ended> {
        let mut pipe = self.child.stdout.take().context("it is piped")?;
        let mut stdout = String::new();
        pipe.read_to_string(&mut stdout).await?;
        // Tokio's own `wait` would close standard input first.
        let stdin = self.child.stdin.take();
        let status = self.child.wait().await?;
        drop(stdin);
        let stderr = last_lines(&self.log);
        let usage = fs::read_to_string(&self.report)
            .map_err(anyhow::Error::from)
            .and_then(|text| Ok(serde_json::from_str(&text)?))
            .with_context(|| format!("what it used is not known: {status} {stderr}"))?;
        Ok(Ended {
            code: status.code().unwrap_or(-1),
            stdout,
            stderr,
            usage,
        })
    }
}

fn last_lines(log: &Path) -> String {
    const LINES: usize = 10;
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// Is the parent of one child, if that is what this process was started for.
pub(crate) fn be_parent_if_asked() -> Option<ExitCode> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next()? != FLAG {
        return None;
    }
    let report = PathBuf::from(arguments.next()?);
    let program: Vec<_> = arguments.collect();
    Some(match be_parent(&report, &program) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    })
}

fn be_parent(report: &Path, program: &[std::ffi::OsString]) -> anyhow::Result<ExitCode> {
    let (program, arguments) = program.split_first().context("no program is named")?;
    let mut child = std::process::Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        // So that what it starts ends with it.
        .process_group(0)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))?;
    let group = Pid::from_raw(child.id().try_into()?);
    fs::write(report, child.id().to_string())?;
    thread::spawn(move || {
        // The other end is closed when the benchmark ends, or does not want the child any more.
        if io::stdin().read_to_end(&mut Vec::new()).is_ok()
            && let Err(error) = killpg(group, Signal::SIGKILL)
        {
            eprintln!("failed to end the child: {error}");
        }
    });
    let status = child.wait()?;
    let used = getrusage(UsageWho::RUSAGE_CHILDREN)?;
    let usage = Usage {
        cpu_s: seconds(used.user_time()) + seconds(used.system_time()),
        // Linux counts in KiB.
        peak_rss_bytes: u64::try_from(used.max_rss())? * if cfg!(target_os = "macos") { 1 } else { 1024 },
    };
    fs::write(report, serde_json::to_string(&usage)?)?;
    let signalled = status.signal().map(|signal| 128 + signal);
    let code = status.code().or(signalled).unwrap_or(1);
    Ok(ExitCode::from(u8::try_from(code)?))
}

fn seconds(time: TimeVal) -> f64 {
    time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6
}
