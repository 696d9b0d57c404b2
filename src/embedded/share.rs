//! Who uses the server: a named pipe that every user holds open for writing and the supervisor reads.
//!
//! Nothing is ever written. The kernel closes a process's end however the process ends, so the supervisor's end of file
//! means that the last user is gone.
//!
//! The pipe cannot tell a user who stops whether another one is there: a process that has been forked and does not run
//! its own program yet, for which any thread may be to blame, holds a copy of the open end. So users also hold a shared
//! lock on a file beside the pipe, which goes when they let go of it, whoever has a copy.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

use nix::{
    errno::Errno,
    fcntl::{FcntlArg, OFlag, fcntl},
    sys::stat::Mode,
    unistd::mkfifo,
};

use super::{account::Account, error::Error, home::Home};

/// A use of the server, until it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    writer: File,
    /// Locked, and shared with all who use the server.
    counted: File,
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
    /// A new pipe and the first use of it, with the end that is the supervisor's. Called under the lock of `home`.
    pub(super) fn create(home: &Home, account: &Account) -> Result<(File, Self), Error> {
        let (path, counted_path) = (home.share(), home.counted());
        // Whoever used an earlier server holds files that have no name any more, and does not count.
        for earlier in [&path, &counted_path] {
            match fs::remove_file(earlier) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(Error::io("remove", earlier)(error));
                }
                _ => {}
            }
        }
        let count = || {
            let counted = home.open(&counted_path)?;
            account.take_file(&counted)?;
            counted.try_lock_shared()?;
            Ok(counted)
        };
        let counted = count().map_err(Error::io("create", &counted_path))?;
        let open = || {
            mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
            account.take_path(&path)?;
            // Opening either end alone would wait for the other one.
            let reader = open_without_waiting(OpenOptions::new().read(true), &path)?;
            let writer = OpenOptions::new().write(true).open(&path)?;
            // The supervisor's reads are to wait.
            fcntl(&reader, FcntlArg::F_SETFL(OFlag::empty()))?;
            Ok((reader, writer))
        };
        let (reader, writer) = open().map_err(Error::io("create", &path))?;
        Ok((reader, Self { writer, counted }))
    }

    /// Whether this is a share of the pipe at `path`, and not of one that was there before.
    pub(super) fn is_of(&self, path: &Path) -> bool {
        match (self.writer.metadata(), fs::metadata(path)) {
            (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
            _ => false,
        }
    }

    /// One use more of a server that is there. Called under the lock of `home`.
    pub(super) fn join(home: &Home) -> Result<Joined, Error> {
        let writer = match open_writer(&home.share()) {
            Ok(writer) => writer,
            Err(error) if is_without_reader(&error) => return Ok(Joined::Unsupervised),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Joined::Absent),
            Err(error) => return Err(Error::io("open", home.share())(error)),
        };
        let count = || {
            let counted = open_counted(home)?;
            // Under the lock of the home nobody of us keeps it from us.
            counted.try_lock_shared()?;
            Ok(counted)
        };
        let counted = count().map_err(Error::io("lock", home.counted()))?;
        Ok(Joined::Share(Self { writer, counted }))
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        // Closing alone would leave it locked for as long as there is a copy. If this fails, that is how long it stays so.
        drop(self.counted.unlock());
    }
}

/// Whether a supervisor reads the pipe at `path`.
pub(super) fn is_supervised(path: &Path) -> Result<bool, Error> {
    match open_writer(path) {
        Ok(_) => Ok(true),
        Err(error) if is_without_reader(&error) || error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("open", path)(error)),
    }
}

/// Whether anybody uses the server. Called under the lock of `home`, without which it would look like a use itself.
pub(super) fn is_used(home: &Home) -> Result<bool, Error> {
    let failed = || Error::io("lock", home.counted());
    let counted = match open_counted(home) {
        Ok(counted) => counted,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(failed()(error)),
    };
    match counted.try_lock() {
        // At once, and not with the last copy of the file, which would keep out whoever joins.
        Ok(()) => counted.unlock().map(|()| false).map_err(failed()),
        Err(TryLockError::WouldBlock) => Ok(true),
        Err(TryLockError::Error(error)) => Err(failed()(error)),
    }
}

/// Whether nobody reads the pipe that was to be opened for writing.
fn is_without_reader(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::ENXIO as i32)
}

fn open_writer(path: &Path) -> io::Result<File> {
    open_without_waiting(OpenOptions::new().write(true), path)
}

/// Not created: it would be the file of whoever came first.
fn open_counted(home: &Home) -> io::Result<File> {
    open_without_waiting(OpenOptions::new().read(true).append(true), &home.counted())
}

fn open_without_waiting(how: &mut OpenOptions, path: &Path) -> io::Result<File> {
    how.custom_flags((OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW).bits())
        .open(path)
}

#[cfg(test)]
mod tests {
    use std::{io::Read, os::unix::fs::PermissionsExt};

    use tempfile::TempDir;

    use super::*;

    /// A home of nobody's yet, with the directory that it is in.
    fn home() -> (TempDir, Home, Account) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        // For the user whom root gives a server to.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("it is ours to open");
        let account = Account::for_cluster(&dir.path().join("data")).expect("there is a user for servers");
        let home = Home::prepare(&dir.path().join("home"), &account).expect("it is prepared");
        (dir, home, account)
    }

    #[test]
    fn a_copy_that_a_fork_took_counts_as_nobody() {
        let (_dir, home, account) = home();
        let used = || is_used(&home).expect("it can be asked");
        let (mut reader, first) = Share::create(&home, &account).expect("it is created");
        let second = match Share::join(&home) {
            Ok(Joined::Share(second)) => second,
            other => panic!("{other:?}"),
        };
        assert!(used(), "two use it");
        drop(first);
        assert!(used(), "one uses it");
        // What is open in a process is open in one that is forked from it, until that runs its own program.
        let copy = |file: &File| file.try_clone().expect("it can be copied");
        let copies = [copy(&second.writer), copy(&second.counted)];
        drop(second);
        assert!(!used(), "copies count");
        assert!(is_supervised(&home.share()).expect("it can be asked"));
        drop(copies);
        assert_eq!(reader.read(&mut [0]).expect("the supervisor can read"), 0);
    }

    #[test]
    fn who_used_an_earlier_server_counts_as_nobody() {
        let (_dir, home, account) = home();
        let (_, earlier) = Share::create(&home, &account).expect("it is created");
        let (_, later) = Share::create(&home, &account).expect("it is created again");
        assert!(!earlier.is_of(&home.share()) && later.is_of(&home.share()));
        drop(later);
        assert!(!is_used(&home).expect("it can be asked"));
    }
}
