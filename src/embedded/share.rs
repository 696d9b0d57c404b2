//! Who uses the server: a named pipe that every user holds open for writing and the supervisor reads.
//!
//! Nothing is ever written. The kernel closes a process's end however the process ends, so the supervisor's end of file
//! means that the last user is gone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};

use super::account::Account;

/// A use of the server, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    writer: File,
}

/// What came of the attempt to use a server that may be running.
#[derive(Debug)]
pub(super) enum Joined {
    Share(Share),
    /// The pipe is there, its supervisor is not.
    Unsupervised,
    /// There is no pipe.
    Absent,
}

impl Share {
    /// A new pipe, with the end that is the supervisor's.
    pub(super) fn create(path: &Path, account: &Account) -> io::Result<(File, Self)> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        mkfifo(path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        account.take_path(path)?;
        // Opening either end alone would wait for the other one.
        let reader = open_reader(path)?;
        let writer = OpenOptions::new().write(true).open(path)?;
        // The supervisor's reads are to wait.
        fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty()))?;
        Ok((reader, Self { writer }))
    }

    /// Whether this is a share of the pipe at `path`, and not of one that was there before.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        match (self.writer.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    pub(super) fn join(path: &Path) -> io::Result<Joined> {
        let opened = OpenOptions::new()
            .write(true)
            .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
            .open(path);
        match opened {
            Ok(writer) => Ok(Joined::Share(Self { writer })),
            Err(error) if error.raw_os_error() == Some(Errno::ENXIO as i32) => Ok(Joined::Unsupervised),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Joined::Absent),
            Err(error) => Err(error),
        }
    }
}

/// Whether a supervisor reads the pipe at `path`.
pub(super) fn is_supervised(path: &Path) -> io::Result<bool> {
    Ok(matches!(Share::join(path)?, Joined::Share(_)))
}

/// Whether any process uses the server.
pub(super) fn is_used(path: &Path) -> io::Result<bool> {
    let mut reader = match open_reader(path) {
        Ok(reader) => reader,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    match reader.read(&mut [0]) {
        Ok(read) => Ok(read > 0),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

fn open_reader(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
        .open(path)
}
