//! The program itself, as a process: what it prints, what it ends with, and how it takes a signal.

use std::{
    fs,
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::environment;

/// A wait that takes so long will not end at all.
const LIMIT: Duration = Duration::from_secs(90);

/// Where the program runs: a directory of its own with its configuration, and an environment that holds nothing else.
pub(crate) struct Workplace {
    dir: TempDir,
    variables: Vec<(String, String)>,
}

/// What came of a run.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// The running program; killed when it is dropped.
pub(crate) struct Program {
    child: Child,
    stdout: Pipe,
    stderr: Pipe,
}

/// What has come through a pipe so far.
struct Pipe {
    text: watch::Receiver<String>,
    reader: JoinHandle<()>,
}

impl Workplace {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("calmirror-cli-")
            .tempdir()
            .expect("the temporary directory takes another one");
        // An embedded server of root's runs as another user, who has to pass through.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("the directory is ours");
        let kept = ["PATH", "TMPDIR", "PG_BIN_DIR"];
        let kept = kept
            .iter()
            .filter_map(|name| Some(((*name).to_owned(), environment(name)?)));
        // Several daemons of one machine cannot have the same port.
        let listen = ("CALMIRROR__SERVER__LISTEN".to_owned(), "off".to_owned());
        let variables = kept.chain([listen]).collect();
        Self { dir, variables }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::write(&path, text).expect("the directory takes a file");
        if name == "config.toml" {
            // The database's address may have a password in it, which would be warned of.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("the file is ours");
        }
        path
    }

    /// Sets a variable for every run from now on.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// Takes a variable away from every run from now on.
    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.retain(|(known, _)| known != name);
    }

    pub(crate) fn start(&self, arguments: &[&str]) -> Program {
        self.start_with(&[], arguments)
    }

    /// Starts the program with these variables in addition.
    pub(crate) fn start_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Program {
        Program::start(self.command(variables, arguments))
    }

    /// What a line of the shell makes of it, in which `$CALMIRROR` is the program.
    pub(crate) async fn shell(&self, line: &str) -> Ended {
        let variables = [("CALMIRROR", env!("CARGO_BIN_EXE_calmirror"))];
        let command = self.command_of("sh", &variables, &["-c", line]);
        Program::start(command).end().await
    }

    /// The program, with nowhere to print yet.
    pub(super) fn command(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        self.command_of(env!("CARGO_BIN_EXE_calmirror"), variables, arguments)
    }

    fn command_of(&self, program: &str, variables: &[(&str, &str)], arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command
            .args(arguments)
            .current_dir(self.path())
            .env_clear()
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    pub(crate) async fn run(&self, arguments: &[&str]) -> Ended {
        self.start(arguments).end().await
    }

    pub(crate) async fn run_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Ended {
        self.start_with(variables, arguments).end().await
    }
}

impl Ended {
    /// The exit code; none where a signal ended it.
    #[track_caller]
    pub(crate) fn code(&self) -> i32 {
        let signal = self.status.signal();
        self.status
            .code()
            .unwrap_or_else(|| panic!("ended by signal {signal:?}: {self}"))
    }

    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code(), code, "{self}");
        self
    }

    /// Standard output as a JSON value a line.
    #[track_caller]
    pub(crate) fn json(&self) -> Vec<Value> {
        self.stdout.lines().map(|line| parse(line, self)).collect()
    }

    /// The log as a JSON value a line.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Value> {
        self.stderr.lines().map(|line| parse(line, self)).collect()
    }

    /// The lines of the log that hold this text.
    pub(crate) fn log_lines(&self, text: &str) -> Vec<&str> {
        self.stderr.lines().filter(|line| line.contains(text)).collect()
    }
}

#[track_caller]
fn parse(line: &str, all: &Ended) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}\n{all}"))
}

impl std::fmt::Display for Ended {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nstdout:\n{}\nstderr:\n{}",
            self.status, self.stdout, self.stderr
        )
    }
}

impl Program {
    fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        Self {
            stdout: Pipe::read(child.stdout.take().expect("standard output is piped")),
            stderr: Pipe::read(child.stderr.take().expect("standard error is piped")),
            child,
        }
    }

    /// The process's id, while nobody has waited for its end.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().expect("nobody has waited for it")
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("our own child can be signalled");
    }

    /// Waits until a signal has stopped it.
    pub(crate) async fn stopped(&self) {
        let pid = self.pid();
        let waiting = tokio::task::spawn_blocking(move || waitpid(pid, Some(WaitPidFlag::WUNTRACED)));
        let state = waiting.await.expect("waiting does not panic");
        assert!(
            matches!(state, Ok(WaitStatus::Stopped(..))),
            "it ended instead: {state:?}\nstderr:\n{}",
            self.stderr.so_far()
        );
    }

    fn pid(&self) -> Pid {
        let pid = self.child.id().expect("nobody has waited for it");
        Pid::from_raw(pid.try_into().expect("a process id"))
    }

    /// The most memory that it has held so far, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let pid = self.child.id().expect("nobody has waited for it");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux tells of what runs");
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = peak.and_then(|peak| peak.trim().strip_suffix(" kB"));
        let kib: u64 = kib
            .and_then(|kib| kib.parse().ok())
            .unwrap_or_else(|| panic!("it has ended: {status}"));
        kib * 1024
    }

    /// Waits until a line of the log holds this text, and gives all that was logged so far.
    pub(crate) async fn logged(&mut self, text: &str) -> String {
        self.logged_times(text, 1).await
    }

    pub(crate) async fn logged_times(&mut self, text: &str, times: usize) -> String {
        self.logged_with(&[text], times).await
    }

    /// Waits until so many lines of the log hold all of these texts each.
    pub(crate) async fn logged_with(&mut self, texts: &[&str], times: usize) -> String {
        let found = self.stderr.wait(texts, times).await;
        self.must(found, &texts.join(" … "))
    }

    pub(crate) async fn printed(&mut self, text: &str) -> String {
        self.printed_times(text, 1).await
    }

    /// Waits until so many lines of the output hold this text.
    pub(crate) async fn printed_times(&mut self, text: &str, times: usize) -> String {
        let found = self.stdout.wait(&[text], times).await;
        self.must(found, text)
    }

    fn must(&self, found: Option<String>, text: &str) -> String {
        found.unwrap_or_else(|| {
            let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
            panic!("{text:?} never came\nstdout:\n{stdout}\nstderr:\n{stderr}")
        })
    }

    /// Leaves its standard output, as `head` does.
    pub(crate) async fn leave_output(&self) {
        self.stdout.close().await;
    }

    /// Leaves its standard error, as a collector of logs does that ends.
    pub(crate) async fn leave_log(&self) {
        self.stderr.close().await;
    }

    /// Gives it a first signal, and waits for the end, which comes as soon as it is promised.
    pub(crate) async fn end_in_time(self, told: Signal) -> Ended {
        /// After that, systemd and Docker kill.
        const PROMISED: Duration = Duration::from_secs(10);
        let signalled = Instant::now();
        self.signal(told);
        let ended = self.end().await;
        let took = signalled.elapsed();
        assert!(took < PROMISED, "{told}: {took:?}: {ended}");
        ended
    }

    /// Waits for the end.
    pub(crate) async fn end(mut self) -> Ended {
        let Ok(status) = timeout(LIMIT, self.child.wait()).await else {
            let (stdout, stderr) = (self.stdout.so_far(), self.stderr.so_far());
            panic!("no end within {LIMIT:?}\nstdout:\n{stdout}\nstderr:\n{stderr}");
        };
        Ended {
            status: status.expect("a child can be waited for"),
            stdout: self.stdout.all().await,
            stderr: self.stderr.all().await,
        }
    }
}

impl Pipe {
    fn read(mut pipe: impl AsyncRead + Send + Unpin + 'static) -> Self {
        let (sender, text) = watch::channel(String::new());
        let reader = tokio::spawn(async move {
            let mut bytes = Vec::new();
            while let Ok(1..) = pipe.read_buf(&mut bytes).await {
                // A character may be cut in two by a read; the rest of it comes with the next.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                sender.send_replace(text);
            }
        });
        Self { text, reader }
    }

    fn so_far(&self) -> String {
        self.text.borrow().clone()
    }

    async fn close(&self) {
        self.reader.abort();
        while !self.reader.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    async fn all(self) -> String {
        if let Err(error) = self.reader.await {
            assert!(error.is_cancelled(), "reading does not panic: {error}");
        }
        self.text.borrow().clone()
    }

    /// Waits until so many whole lines hold all of these texts; `None` where that never happens.
    async fn wait(&mut self, wanted: &[&str], times: usize) -> Option<String> {
        let is_there = |text: &String| {
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let found = |line: &&str| wanted.iter().all(|text| line.contains(text));
            whole.lines().filter(found).count() >= times
        };
        let waited = timeout(LIMIT, self.text.wait_for(is_there)).await;
        waited.ok()?.ok().map(|text| text.clone())
    }
}
