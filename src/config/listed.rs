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
use crate::model::{UserId, UserSet};

/// Ids, which clones share. Addresses stay in their file: that of a user takes four bytes, for its place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    ids: Arc<UserSet>,
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

/// Lines of a file whose places are noted together: in order, and in no more than a megabyte.
const ROWS: usize = if cfg!(test) { 64 } else { 65_536 };

impl Listed {
    pub fn of(users: UserSet) -> Self {
        Self {
            ids: Arc::new(users),
            addresses: None,
        }
    }

    /// As [`Listed::of`], with the addresses of a file that was read before. Where it has several for a user, the first counts;
    /// returns how many lines give another one as well.
    pub(super) fn with_addresses(users: UserSet, path: &Path, columns: Columns) -> io::Result<(Self, usize)> {
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
    pub fn with(&self, users: &UserSet) -> Self {
        Self::of(self.ids.union(users))
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
        let mut wanted: Vec<_> = placed(&self.ids, users, |user| *user)
            .map(|(place, user)| (addresses.offsets[place], *user))
            .filter(|(offset, _)| *offset != NONE)
            .collect();
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
    type Target = UserSet;

    fn deref(&self) -> &UserSet {
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
    fn locate(&mut self, ids: &UserSet) -> io::Result<usize> {
        let mut table = Table::new(BufReader::new(File::open(&self.path)?), 0, 1);
        table.go_to(self.columns.header)?;
        let mut differing = 0;
        let mut rows = Vec::new();
        loop {
            let row = table.next()?;
            let is_last = row.is_none();
            // Also the header is no user.
            if let Some(row) = row
                && let Some((user, _)) = row.address(self.columns)
                && let Ok(offset) = u32::try_from(row.offset)
            {
                rows.push((user, offset));
            }
            if is_last || rows.len() == ROWS {
                rows.sort_unstable();
                differing += self.note(ids, &rows)?;
                rows.clear();
            }
            if is_last {
                return Ok(differing);
            }
        }
    }

    /// Of ascending users, where their lines are. The file may have changed since its ids were read.
    fn note(&mut self, ids: &UserSet, rows: &[(UserId, u32)]) -> io::Result<usize> {
        let mut lookup = None;
        let mut differing = 0;
        for (place, (user, offset)) in placed(ids, rows, |(user, _)| *user) {
            match self.offsets[place] {
                NONE => {
                    self.offsets[place] = *offset;
                    self.known += usize::from(*offset != NONE);
                }
                first => {
                    let lookup = match &mut lookup {
                        Some(lookup) => lookup,
                        none => none.insert(Lookup::open(&self.path, self.columns)?),
                    };
                    let first = lookup.address(first, *user)?.map(str::to_owned);
                    differing += usize::from(lookup.address(*offset, *user)? != first.as_deref());
                }
            }
        }
        Ok(differing)
    }
}

/// Of what is in ascending order of ids, that which has a listed one, with its place among the listed ones.
fn placed<'a, T>(
    ids: &'a UserSet,
    all: &'a [T],
    id: impl Fn(&T) -> UserId,
) -> impl Iterator<Item = (usize, &'a T)> {
    let first = all.first().map(&id);
    let mut listed = first
        .into_iter()
        .flat_map(|first| ids.places_from(first))
        .peekable();
    all.iter().filter_map(move |one| {
        let id = id(one);
        while listed.next_if(|(_, listed)| *listed < id).is_some() {}
        // It stays, for the next one may have the same id.
        let (place, _) = listed.peek().filter(|(_, listed)| *listed == id)?;
        Some((*place, one))
    })
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
