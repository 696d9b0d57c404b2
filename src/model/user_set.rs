//! Many ids in little memory.

use std::{fmt, iter};

use roaring::RoaringTreemap;
use serde::{Serialize, Serializer};

use super::UserId;

/// Ids, each once, ascending. As those of one Cal.com, which counts them up, they take from a bit to four bytes each; in a list it would
/// be eight. Ids that are all very far apart would take more.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct UserSet(RoaringTreemap);

/// The sign, turned over, so that negative ids come first.
const SIGN: u64 = 1 << 63;

fn to_bits(user: UserId) -> u64 {
    user.0.cast_unsigned() ^ SIGN
}

fn of_bits(bits: u64) -> UserId {
    UserId((bits ^ SIGN).cast_signed())
}

impl UserSet {
    pub fn insert(&mut self, user: UserId) {
        self.0.insert(to_bits(user));
    }

    pub fn len(&self) -> usize {
        usize::try_from(self.0.len()).unwrap_or(usize::MAX)
    }

    /// How many come after the given one.
    pub fn len_after(&self, after: Option<UserId>) -> usize {
        let up_to = after.map_or(0, |after| self.0.rank(to_bits(after)));
        usize::try_from(self.0.len() - up_to).unwrap_or(usize::MAX)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<UserId> {
        self.0.min().map(of_bits)
    }

    pub fn last(&self) -> Option<UserId> {
        self.0.max().map(of_bits)
    }

    pub fn contains(&self, user: UserId) -> bool {
        self.0.contains(to_bits(user))
    }

    /// The ids from this one on, each with the number of those before it.
    ///
    /// To find the first costs more than to go on to many others.
    pub fn places_from(&self, first: UserId) -> impl Iterator<Item = (usize, UserId)> {
        let first = to_bits(first);
        let before = self.0.rank(first) - u64::from(self.0.contains(first));
        let mut rest = self.0.iter();
        rest.advance_to(first);
        (usize::try_from(before).unwrap_or(usize::MAX)..).zip(rest.map(of_bits))
    }

    pub fn iter(&self) -> impl Iterator<Item = UserId> {
        self.0.iter().map(of_bits)
    }

    /// Lists of so many at the most, from the first one after the given one.
    pub fn pages_after(&self, after: Option<UserId>, most: usize) -> impl Iterator<Item = Vec<UserId>> {
        let mut rest = self.0.iter();
        if let Some(after) = after {
            rest.advance_to(to_bits(after));
        }
        let mut rest = rest.map(of_bits).skip_while(move |user| Some(*user) == after);
        let room = most.min(self.len());
        iter::from_fn(move || {
            let mut page = Vec::with_capacity(room);
            page.extend(rest.by_ref().take(most));
            (!page.is_empty()).then_some(page)
        })
    }

    /// Lists of so many at the most.
    pub fn pages(&self, most: usize) -> impl Iterator<Item = Vec<UserId>> {
        self.pages_after(None, most)
    }

    /// These and others.
    #[must_use]
    pub fn union(&self, others: &Self) -> Self {
        Self(&self.0 | &others.0)
    }
}

impl Extend<UserId> for UserSet {
    fn extend<T: IntoIterator<Item = UserId>>(&mut self, users: T) {
        self.0.extend(users.into_iter().map(to_bits));
    }
}

impl FromIterator<UserId> for UserSet {
    fn from_iter<T: IntoIterator<Item = UserId>>(users: T) -> Self {
        Self(users.into_iter().map(to_bits).collect())
    }
}

impl fmt::Debug for UserSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl Serialize for UserSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Single ids, and perhaps so many in a row that they are kept as bits.
    fn ids_of_all_kinds() -> impl Strategy<Value = Vec<i64>> {
        let row =
            (60_000..70_000_i64, 1..15_000_i64).prop_map(|(first, count)| (first..first + count).collect());
        let row = prop_oneof![3 => Just(Vec::new()), 1 => row];
        (prop::collection::vec(id(), 0..60), row).prop_map(|(some, row)| [some, row].concat())
    }

    /// Ids that are close together, far apart, and at the ends of what there is.
    fn id() -> impl Strategy<Value = i64> {
        prop_oneof![
            -20..20_i64,
            65_500..65_600_i64,
            (i64::from(u32::MAX) - 5)..(i64::from(u32::MAX) + 5),
            any::<i64>(),
            Just(i64::MIN),
            Just(i64::MAX),
        ]
    }

    fn ids(users: impl IntoIterator<Item = UserId>) -> Vec<i64> {
        users.into_iter().map(|user| user.0).collect()
    }

    proptest! {
        #[test]
        fn it_is_the_set_that_a_tree_would_be(
            some in ids_of_all_kinds(),
            others in ids_of_all_kinds(),
            asked in prop::collection::vec(id(), 1..40),
            most in prop_oneof![1..20_usize, 5_000..6_000_usize],
        ) {
            let expected: BTreeSet<i64> = some.iter().copied().collect();
            let mut set: UserSet = some.iter().copied().map(UserId).collect();
            let list: Vec<i64> = expected.iter().copied().collect();
            prop_assert_eq!(ids(set.iter()), list.clone());
            prop_assert_eq!(set.len(), list.len());
            prop_assert_eq!(set.len_after(None), list.len());
            prop_assert_eq!(set.is_empty(), list.is_empty());
            prop_assert_eq!(set.first(), list.first().copied().map(UserId));
            prop_assert_eq!(set.last(), list.last().copied().map(UserId));
            prop_assert_eq!(serde_json::to_value(&set).ok(), serde_json::to_value(&list).ok());
            let pages: Vec<_> = set.pages(most).map(ids).collect();
            prop_assert_eq!(pages, list.chunks(most).map(<[i64]>::to_vec).collect::<Vec<_>>());
            for user in asked.iter().chain(some.iter().step_by(1 + some.len() / 20)).copied() {
                prop_assert_eq!(set.contains(UserId(user)), expected.contains(&user));
                let places: Vec<_> = set.places_from(UserId(user)).map(|(place, user)| (place, user.0)).collect();
                let on = list.partition_point(|id| *id < user);
                prop_assert_eq!(places, (on..).zip(list[on..].iter().copied()).collect::<Vec<_>>());
                let after: Vec<_> = set.pages_after(Some(UserId(user)), most).map(ids).collect();
                let rest = &list[list.partition_point(|id| *id <= user)..];
                prop_assert_eq!(set.len_after(Some(UserId(user))), rest.len());
                prop_assert_eq!(after, rest.chunks(most).map(<[i64]>::to_vec).collect::<Vec<_>>());
            }
            let union = set.union(&others.iter().copied().map(UserId).collect());
            set.extend(others.iter().copied().map(UserId));
            let all: BTreeSet<i64> = some.iter().chain(&others).copied().collect();
            prop_assert_eq!(ids(union.iter()), all.into_iter().collect::<Vec<_>>());
            prop_assert_eq!(union, set);
        }
    }
}
