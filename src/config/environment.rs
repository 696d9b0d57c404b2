//! What is read from the process's environment apart from the configuration itself.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
};

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

/// An empty variable counts as unset, as it does for most programs.
#[expect(
    clippy::disallowed_methods,
    reason = "this is where the environment is read; callers name what they want"
)]
fn variable(name: &str) -> Option<OsString> {
    env::var_os(name).filter(|value| !value.is_empty())
}
