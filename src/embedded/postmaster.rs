//! What `postmaster.pid` says, and whether it is still true.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{error::Error, home::Home, process::Program};

/// A server as its pid file describes it.
#[derive(Clone, Debug)]
pub(super) struct Postmaster {
    pub(super) pid: i32,
    /// Missing while the server is only starting.
    pub(super) socket_dir: Option<PathBuf>,
}

impl Postmaster {
    /// What the pid file of a cluster says; a file that a full disk cut short says nothing.
    pub(super) fn read(home: &Home) -> Result<Option<Self>, Error> {
        let path = home.data().join("postmaster.pid");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", path)(error)),
        }
    }

    /// Lines: process, data directory, start time, port, socket directory, and more that is of no use here.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        // A negative number would mean a process group.
        let pid = lines.next()?.trim().parse().ok().filter(|pid| *pid > 1)?;
        let socket_dir = lines.nth(3).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        Some(Self { pid, socket_dir })
    }

    /// Whether the process is there and is a server of this cluster: after a crash the number may be another's.
    pub(super) async fn is_alive(&self, home: &Home) -> bool {
        if kill(Pid::from_raw(self.pid), None) == Err(Errno::ESRCH) {
            return false;
        }
        let proc = Path::new("/proc").join(self.pid.to_string());
        if Path::new("/proc/self/cwd").exists() {
            // A server's working directory is its data directory. A process whose own cannot be read is another user's,
            // or dead and not yet reaped.
            return fs::read_link(proc.join("cwd")).is_ok_and(|dir| dir == home.data());
        }
        let output = Program::new("/bin/ps")
            .args(["-o", "comm=", "-p"])
            .arg(self.pid.to_string())
            .output()
            .await;
        // Where nobody can say, believing in a server is the safe side.
        output.map_or(true, |output| output.stdout.contains("postgres"))
    }

    /// Asks for a fast shutdown. A process that is gone already has done what was asked.
    pub(super) fn interrupt(&self) -> Result<(), Error> {
        match kill(Pid::from_raw(self.pid), Signal::SIGINT) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(errno) => Err(Error::io("stop the server of", format!("process {}", self.pid))(
                errno.into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_read_as_far_as_it_goes() {
        let whole = Postmaster::parse("4711\n/d/data\n1700000000\n5432\n/d/socket\n\n  1 2\nready   \n")
            .expect("a whole file says all");
        assert_eq!(
            (whole.pid, whole.socket_dir),
            (4711, Some(PathBuf::from("/d/socket")))
        );
        let starting = Postmaster::parse("4711\n/d/data\n").expect("the process is known");
        assert!(starting.socket_dir.is_none());
        for text in ["", "\n", "-1\n", "x"] {
            assert!(Postmaster::parse(text).is_none(), "{text:?} says nothing");
        }
    }
}
