//! The data directory: what is where in it, and whose it is.

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    hash::{DefaultHasher, Hash, Hasher},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use nix::fcntl::OFlag;

use super::{
    account::{Account, name_of},
    error::Error,
    patience::Patience,
};
use crate::config::environment;

/// A data directory that exists, is private, and belongs to the server's user.
#[derive(Clone, Debug)]
pub(super) struct Home {
    /// Absolute and without symbolic links: two spellings of one directory are one home.
    pub(super) dir: PathBuf,
}

/// Held by whoever starts or stops the server; released with the process at the latest.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

/// Longer than a slow disk needs for an initdb and a recovery.
const LOCK_LIMIT: Duration = Duration::from_secs(180);

/// macOS has 104 bytes for a socket's address, Linux 108, the closing NUL included.
const MAX_SOCKET_PATH: usize = 103;

const SOCKET_NAME: &str = ".s.PGSQL.5432";

impl Home {
    /// Makes `data_dir` ready for `account`.
    pub(super) fn prepare(data_dir: &Path, account: &Account) -> Result<Self, Error> {
        let dir = std::path::absolute(data_dir).map_err(Error::io("find", data_dir))?;
        check_reach(&dir, account)?;
        if let Some(parent) = dir.parent() {
            fs::create_dir_all(parent).map_err(Error::io("create", parent))?;
        }
        match DirBuilder::new().mode(0o700).create(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(Error::io("create", dir)(error));
            }
            _ => {}
        }
        let dir = dir.canonicalize().map_err(Error::io("find", dir))?;
        // Again: what was created just now may be closed by the umask.
        check_reach(&dir, account)?;
        let home = Self { dir };
        home.claim(account)?;
        Ok(home)
    }

    /// Postgres's own data directory.
    pub(super) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    /// The pipe whose writers are the processes that use the server.
    pub(super) fn share(&self) -> PathBuf {
        self.dir.join("users")
    }

    /// The file that those processes hold locked.
    pub(super) fn counted(&self) -> PathBuf {
        self.dir.join("users.lock")
    }

    /// What the supervisor renames the pipe to once nobody uses the server any more.
    pub(super) fn stopping(&self) -> PathBuf {
        self.dir.join("stopping")
    }

    pub(super) fn log(&self) -> PathBuf {
        self.dir.join("postgres.log")
    }

    fn lock_file(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// An empty log for a new server, to append to and to read back.
    pub(super) fn new_log(&self, account: &Account) -> Result<File, Error> {
        let open = || {
            let file = self.open(&self.log())?;
            file.set_len(0)?;
            account.take_file(&file)?;
            Ok(file)
        };
        open().map_err(Error::io("write", self.log()))
    }

    /// Waits for other processes that are starting or stopping the server.
    pub(super) async fn lock(&self, account: &Account) -> Result<Lock, Error> {
        let path = self.lock_file();
        let file = self
            .open(&path)
            .and_then(|file| account.take_file(&file).map(|()| file))
            .map_err(Error::io("open", &path))?;
        let mut patience = Patience::of(LOCK_LIMIT);
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) if patience.wait().await => {}
                Err(TryLockError::WouldBlock) => {
                    return Err(Error::Busy {
                        data_dir: self.dir.clone(),
                        waited: LOCK_LIMIT,
                    });
                }
                Err(TryLockError::Error(error)) => return Err(Error::io("lock", path)(error)),
            }
        }
    }

    /// A private directory for the server's socket: ours where its path is short and plain enough, else one under the
    /// temporary directory.
    pub(super) fn socket_dir(&self, account: &Account) -> Result<PathBuf, Error> {
        let mut hasher = DefaultHasher::new();
        self.dir.hash(&mut hasher);
        let short = format!("calmirror-{:016x}", hasher.finish());
        let candidates = [
            self.dir.join("socket"),
            environment::temp_dir().join(&short),
            Path::new("/tmp").join(&short),
        ];
        let dir = candidates
            .iter()
            .find(|dir| fits_socket(dir))
            .unwrap_or(&candidates[2])
            .clone();
        match DirBuilder::new().mode(0o700).create(&dir) {
            Ok(()) => account
                .take_path(&dir)
                .map_err(Error::io("change the owner of", &dir))?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(Error::io("create", dir)(error)),
        }
        // The temporary directory is everybody's: what was there before us may be a trap.
        let metadata = fs::symlink_metadata(&dir).map_err(Error::io("look at", &dir))?;
        if !metadata.is_dir() || metadata.uid() != account.uid || metadata.mode() & 0o077 != 0 {
            return Err(Error::SocketDirTaken {
                dir,
                user: account.name.clone(),
            });
        }
        Ok(dir)
    }

    /// Root works in a directory of a lesser user here, so no link of that user's is followed.
    pub(super) fn open(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits())
            .open(path)
    }

    fn claim(&self, account: &Account) -> Result<(), Error> {
        let metadata = self.dir.metadata().map_err(Error::io("look at", &self.dir))?;
        if !metadata.is_dir() {
            return Err(Error::NotOurs {
                data_dir: self.dir.clone(),
            });
        }
        if metadata.uid() != account.uid && !account.dropped {
            return Err(Error::OtherOwner {
                data_dir: self.dir.clone(),
                owner: name_of(metadata.uid()),
            });
        }
        if !self.is_ours_or_empty().map_err(Error::io("read", &self.dir))? {
            return Err(Error::NotOurs {
                data_dir: self.dir.clone(),
            });
        }
        if metadata.uid() != account.uid {
            account
                .take_path(&self.dir)
                .map_err(Error::io("change the owner of", &self.dir))?;
        }
        if metadata.mode() & 0o077 != 0 {
            let private = std::os::unix::fs::PermissionsExt::from_mode(0o700);
            fs::set_permissions(&self.dir, private).map_err(Error::io("close to others", &self.dir))?;
        }
        Ok(())
    }

    /// A directory somebody named by mistake (a home directory, say) must not change hands.
    fn is_ours_or_empty(&self) -> io::Result<bool> {
        if self.lock_file().exists() {
            return Ok(true);
        }
        for entry in self.dir.read_dir()? {
            // The root of a file system has this one when it is new.
            if entry?.file_name() != "lost+found" {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Postgres splits its setting at commas and trims it, and the path is shown to be pasted into a shell.
fn fits_socket(dir: &Path) -> bool {
    dir.join(SOCKET_NAME).as_os_str().len() <= MAX_SOCKET_PATH
        && dir.to_str().is_some_and(|text| {
            text.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"/._-+=".contains(&byte))
        })
}

/// Finds the directory above `dir` that keeps the server's user out.
fn check_reach(dir: &Path, account: &Account) -> Result<(), Error> {
    if !account.dropped {
        return Ok(());
    }
    for ancestor in dir.ancestors().skip(1) {
        match ancestor.metadata() {
            Ok(metadata) if !account.can_enter(&metadata) => {
                return Err(Error::Unreachable {
                    closed: ancestor.to_owned(),
                    user: account.name.clone(),
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("look at", ancestor)(error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_directory_is_short_and_plain() {
        assert!(fits_socket(Path::new("/var/lib/calmirror/postgres/socket")));
        assert!(!fits_socket(Path::new("/home/a b/socket")));
        assert!(!fits_socket(Path::new("/srv/a,b/socket")));
        assert!(!fits_socket(&Path::new("/srv").join("long".repeat(30))));
    }
}
