//! Ids that the configuration lists, and the addresses that stand beside them in a file.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader},
    ops::Deref,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::users::table::{Columns, Table};
use crate::model::UserId;

/// Ids, ascending, each once. Clones share them. Addresses stay in their file: a user takes 12 bytes at most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    ids: Arc<Vec<UserId>>,
    addresses: Option<Arc<Addresses>>,
}

/// Where in a file the addresses of listed users are.
#[derive(PartialEq, Eq)]
struct Addresses {
    path: PathBuf,
    columns: Columns,
    /// The byte at which a user's line begins, in the order of the ids.
    offsets: Vec<u32>,
    /// Users that have one.
    known: usize,
}

/// The offset of a user without an address.
const NONE: u32 = u32::MAX;

impl Listed {
    /// Sorts and dedups.
    pub fn of(mut users: Vec<UserId>) -> Self {
        users.sort_unstable();
        users.dedup();
        Self {
            ids: Arc::new(users),
            addresses: None,
        }
    }

    /// As [`Listed::of`], with the addresses of a file that was read before. Where it has several for a user, the first counts;
    /// returns how many lines give another one as well.
    pub(super) fn with_addresses(
        users: Vec<UserId>,
        path: &Path,
        columns: Columns,
    ) -> io::Result<(Self, usize)> {
        let mut listed = Self::of(users);
        let mut addresses = Addresses {
            path: path.to_owned(),
            columns,
            offsets: vec![NONE; listed.len()],
            known: 0,
        };
        let differing = addresses.locate(&listed.ids)?;
        listed.addresses = Some(Arc::new(addresses));
        Ok((listed, differing))
    }

    /// These and others.
    #[must_use]
    pub fn with(&self, users: Vec<UserId>) -> Self {
        let mut all = users;
        all.extend_from_slice(self);
        Self::of(all)
    }

    /// Whether this user is listed.
    pub fn contains(&self, user: UserId) -> bool {
        self.ids.binary_search(&user).is_ok()
    }

    /// Of how many users a file gives the address.
    pub fn known_addresses(&self) -> usize {
        self.addresses.as_ref().map_or(0, |addresses| addresses.known)
    }

    /// The addresses that a file gives for these users, which are listed and ascending. Users without one are left out, and so are
    /// those that the file does not show any more. Reads the file, so it may block.
    pub fn addresses(&self, users: &[UserId]) -> Vec<(UserId, String)> {
        let Some(addresses) = &self.addresses else {
            return Vec::new();
        };
        let place = |user: &UserId| {
            let offset = addresses.offsets[self.ids.binary_search(user).ok()?];
            (offset != NONE).then_some((offset, *user))
        };
        let mut wanted: Vec<_> = users.iter().filter_map(place).collect();
        // So that the file is read in one direction, whatever its order.
        wanted.sort_unstable();
        let mut found = Vec::with_capacity(wanted.len());
        // Whoever cannot be looked up is asked for by its id.
        if let Ok(mut lookup) = Lookup::open(&addresses.path, addresses.columns) {
            found.extend(wanted.into_iter().filter_map(|(offset, user)| {
                let address = lookup.address(offset, user).ok()??;
                Some((user, address.to_owned()))
            }));
        }
        found.sort_unstable_by_key(|(user, _)| *user);
        found
    }
}

impl Deref for Listed {
    type Target = [UserId];

    fn deref(&self) -> &[UserId] {
        &self.ids
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Addresses")
            .field("path", &self.path)
            .field("known", &self.known)
            .finish_non_exhaustive()
    }
}

impl Addresses {
    fn locate(&mut self, ids: &[UserId]) -> io::Result<usize> {
        let mut table = Table::new(BufReader::new(File::open(&self.path)?), 0, 1);
        table.go_to(self.columns.header)?;
        let mut lookup = None;
        let mut differing = 0;
        while let Some(row) = table.next()? {
            // Also the header is no user.
            let Some((user, address)) = row.address(self.columns) else {
                continue;
            };
            // The file may have changed since its ids were read.
            let (Ok(place), Ok(offset)) = (ids.binary_search(&user), u32::try_from(row.offset)) else {
                continue;
            };
            match self.offsets[place] {
                NONE => {
                    self.offsets[place] = offset;
                    self.known += usize::from(offset != NONE);
                }
                first => {
                    let lookup = match &mut lookup {
                        Some(lookup) => lookup,
                        none => none.insert(Lookup::open(&self.path, self.columns)?),
                    };
                    differing += usize::from(lookup.address(first, user)? != Some(address));
                }
            }
        }
        Ok(differing)
    }
}

/// Reads addresses at known places of a file.
struct Lookup {
    table: Table<BufReader<File>>,
    columns: Columns,
}

impl Lookup {
    fn open(path: &Path, columns: Columns) -> io::Result<Self> {
        let table = Table::new(BufReader::new(File::open(path)?), 0, 1);
        Ok(Self { table, columns })
    }

    /// The address of this user, if its line is still there.
    fn address(&mut self, offset: u32, user: UserId) -> io::Result<Option<&str>> {
        self.table.go_to(offset.into())?;
        let address = self.table.next()?.and_then(|row| row.address(self.columns));
        Ok(address.filter(|(id, _)| *id == user).map(|(_, address)| address))
    }
}
