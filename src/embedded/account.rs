//! The user that the server runs as: ourselves, unless we are root, which Postgres refuses.

use std::{
    fs::{self, File, Metadata},
    io,
    os::unix::fs::{MetadataExt, fchown, lchown},
    path::Path,
};

use nix::unistd::{Uid, User, getegid, geteuid};

use super::error::Error;

/// A user of this machine.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// We are root, and the account is not.
    pub(super) dropped: bool,
}

impl Account {
    /// The user to run the server whose cluster is, or will be, in `data`.
    ///
    /// For root that is the owner of the cluster where there is one, so that a package installed later (and with it a
    /// user `postgres`) does not lock us out of what `nobody` created.
    pub(super) fn for_cluster(data: &Path) -> Result<Self, Error> {
        let me = geteuid();
        if !me.is_root() {
            return Ok(Self {
                name: name_of(me.as_raw()),
                uid: me.as_raw(),
                gid: getegid().as_raw(),
                dropped: false,
            });
        }
        match fs::symlink_metadata(data) {
            Ok(metadata) if metadata.uid() != 0 => {
                return Ok(Self {
                    name: name_of(metadata.uid()),
                    uid: metadata.uid(),
                    gid: metadata.gid(),
                    dropped: true,
                });
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Error::io("look at", data)(error)),
        }
        ["postgres", "nobody"]
            .iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .map(|user| Self {
                name: user.name,
                uid: user.uid.as_raw(),
                gid: user.gid.as_raw(),
                dropped: true,
            })
            .ok_or(Error::NoAccount)
    }

    /// Gives it a file that we have opened.
    pub(super) fn take_file(&self, file: &File) -> io::Result<()> {
        if self.dropped {
            fchown(file, Some(self.uid), Some(self.gid))
        } else {
            Ok(())
        }
    }

    /// Gives it what is at `path`, without following a symbolic link.
    pub(super) fn take_path(&self, path: &Path) -> io::Result<()> {
        if self.dropped {
            lchown(path, Some(self.uid), Some(self.gid))
        } else {
            Ok(())
        }
    }

    /// Whether the permission bits let it pass through a directory.
    pub(super) fn can_enter(&self, dir: &Metadata) -> bool {
        let bit = if dir.uid() == self.uid {
            0o100
        } else if dir.gid() == self.gid {
            0o010
        } else {
            0o001
        };
        dir.mode() & bit != 0
    }
}

/// A user's name, or its number where it has none.
pub(super) fn name_of(uid: u32) -> String {
    match User::from_uid(Uid::from_raw(uid)) {
        Ok(Some(user)) => user.name,
        Ok(None) | Err(_) => uid.to_string(),
    }
}
