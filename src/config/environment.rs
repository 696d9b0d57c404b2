//! The process's environment: as a value where it configures, and by name where programs are started.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

/// The command line of the process.
pub(crate) fn arguments() -> impl Iterator<Item = OsString> {
    env::args_os()
}

/// `PG_BIN_DIR`: the directory of the Postgres programs that the embedded server is to use.
pub(crate) fn postgres_bin_dir() -> Option<PathBuf> {
    variable("PG_BIN_DIR").map(PathBuf::from)
}

/// `PATH`, as it is handed to the programs that we start.
pub(crate) fn path() -> Option<OsString> {
    variable("PATH")
}

/// The directories of `PATH` in which a program may be looked for: the absolute ones.
pub(crate) fn search_path() -> Vec<PathBuf> {
    path()
        .map(|path| env::split_paths(&path).filter(|dir| dir.is_absolute()).collect())
        .unwrap_or_default()
}

/// Where short-lived files go: `TMPDIR`, else the system's place for them.
pub(crate) fn temp_dir() -> PathBuf {
    let dir = env::temp_dir();
    if dir.is_absolute() {
        dir
    } else {
        Path::new("/tmp").to_owned()
    }
}

/// This program's file, for commands to paste.
pub(crate) fn program() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| PathBuf::from("calmirror"))
}

/// An empty variable counts as unset, as it does for most programs.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the environment is read; callers name what they want"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}

/// Environment variables, and who runs the process.
///
/// Taken once from the process by [`Environment::of_process`], or made by tests from pairs.
#[derive(Clone, Default)]
pub struct Environment {
    variables: BTreeMap<OsString, OsString>,
    root: bool,
}

impl Environment {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is where the environment is read")]
    pub fn of_process() -> Self {
        Self {
            variables: env::vars_os().collect(),
            root: nix::unistd::geteuid().is_root(),
        }
    }

    /// An environment of these variables alone, of a user who is not root.
    pub fn from_pairs<K: Into<OsString>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self {
            variables: pairs
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            root: false,
        }
    }

    /// The same variables, for root.
    #[must_use]
    pub fn as_root(mut self) -> Self {
        self.root = true;
        self
    }

    /// Whether the process runs as root, which Postgres refuses to.
    pub fn is_root(&self) -> bool {
        self.root
    }

    /// `HOME`.
    pub fn home(&self) -> Option<PathBuf> {
        self.directory("HOME")
    }

    /// `XDG_DATA_HOME`, which counts only when absolute.
    pub fn xdg_data_home(&self) -> Option<PathBuf> {
        self.directory("XDG_DATA_HOME").filter(|path| path.is_absolute())
    }

    /// The first directory of `STATE_DIRECTORY`, which systemd sets.
    pub fn state_directory(&self) -> Option<PathBuf> {
        env::split_paths(self.get("STATE_DIRECTORY")?).next()
    }

    /// `CREDENTIALS_DIRECTORY`, which systemd sets.
    pub fn credentials_directory(&self) -> Option<PathBuf> {
        self.directory("CREDENTIALS_DIRECTORY")
    }

    /// Whether a terminal, if there is one, can move its cursor, by `TERM`.
    pub fn terminal_obeys(&self) -> bool {
        self.get("TERM").is_some_and(|term| term != "dumb")
    }

    /// `NOTIFY_SOCKET`: where systemd hears how the service is. A name that begins with `@` is one of Linux's abstract ones.
    pub fn notify_socket(&self) -> Option<&OsStr> {
        self.get("NOTIFY_SOCKET")
    }

    /// `WATCHDOG_USEC`: a sign of life is wanted at least this often. None where systemd means another process by it.
    pub fn watchdog(&self) -> Option<Duration> {
        let number = |name| self.get(name)?.to_str()?.parse::<u64>().ok();
        let is_other = |pid| pid != u64::from(std::process::id());
        if self.get("WATCHDOG_PID").is_some() && number("WATCHDOG_PID").is_none_or(is_other) {
            return None;
        }
        number("WATCHDOG_USEC")
            .filter(|usec| *usec > 0)
            .map(Duration::from_micros)
    }

    /// `FAILPOINTS`, for [`crate::crash_point`].
    #[cfg(feature = "failpoints")]
    pub fn crash_points(&self) -> Option<&str> {
        self.get("FAILPOINTS")?.to_str()
    }

    fn directory(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// `None` for a variable that is unset or empty: both mean that nothing was said.
    pub(super) fn get(&self, name: &str) -> Option<&OsStr> {
        self.variables
            .get(OsStr::new(name))
            .map(OsString::as_os_str)
            .filter(|value| !value.is_empty())
    }

    /// Variables whose names begin so, set to the empty text too, with the rest of their names.
    pub(super) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a str, &'a OsStr)> {
        self.variables.iter().filter_map(move |(name, value)| {
            let name = name.to_str()?;
            Some((name, name.strip_prefix(prefix)?, value.as_os_str()))
        })
    }
}

impl fmt::Debug for Environment {
    /// Names only: some of the values are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment")
            .field("variables", &self.variables.keys().collect::<Vec<_>>())
            .field("root", &self.root)
            .finish()
    }
}
