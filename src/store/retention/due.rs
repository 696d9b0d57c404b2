//! Which versions of the ledger are folded, a bounded number of rows at a time.

use chrono::{DateTime, Utc};

use super::{LOOKED_AT, Place};
use crate::store::{Error, tx::Tx};

/// A version that was looked at, in the order of users and versions.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    place: Place,
    /// It is older than the cutoff, and there is something before it that could be folded into it.
    is_due: bool,
    /// It is not older than the cutoff.
    stays: bool,
}

/// A user's versions that are folded into the last of them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) user_id: i64,
    /// The last of them.
    pub(super) base: i32,
    /// How many of them are deleted, and have not been looked at before.
    pub(super) versions: i64,
}

impl Place {
    /// Past all versions of its user.
    pub(super) const fn after_user(self) -> Self {
        Self {
            version: i32::MAX,
            ..self
        }
    }
}

/// Versions from a place on, as they come: neither how many there are nor how few are due makes this read more of them.
pub(super) async fn look(tx: &mut Tx, cutoff: DateTime<Utc>, from: Place) -> Result<Vec<Looked>, Error> {
    let rows = sqlx::query!(
        r#"
        select
            user_id, version,
            -- A row that is folded, or is the first, has nothing before it that could be folded into it.
            version > 1 and folded_at is null and observed_at < $3 as "is_due!",
            observed_at >= $3 as "stays!"
        from managed_user_changes
        where (user_id, version) > ($1, $2)
        order by user_id, version
        limit $4
        "#,
        from.user_id,
        from.version,
        cutoff,
        LOOKED_AT,
    )
    .fetch_all(&mut *tx)
    .await?;
    let looked = rows.into_iter().map(|row| Looked {
        place: Place {
            user_id: row.user_id,
            version: row.version,
        },
        is_due: row.is_due,
        stays: row.stays,
    });
    Ok(looked.collect())
}

/// Users with versions that are to be folded, in their order, as many as a batch takes, and where to go on; none at the end.
///
/// What is folded of a user has no gap in time either: after a clock was set back, a version may be older than the one before
/// it, and stays if that one does. Nothing of the user is looked at after such a one.
pub(super) fn due(looked: &[Looked], most: i64, is_end: bool) -> (Vec<Due>, Option<Place>) {
    let mut found: Vec<Due> = Vec::new();
    let mut stopped = None;
    let mut rows = 0;
    for Looked { place, is_due, stays } in looked {
        if stopped == Some(place.user_id) {
            continue;
        }
        if *stays {
            stopped = Some(place.user_id);
        } else if *is_due {
            match found.last_mut().filter(|due| due.user_id == place.user_id) {
                Some(due) => {
                    due.base = place.version;
                    due.versions += 1;
                }
                None => found.push(Due {
                    user_id: place.user_id,
                    base: place.version,
                    versions: 1,
                }),
            }
            rows += 1;
            if rows == most {
                return (found, Some(*place));
            }
        }
    }
    let last = looked.last().filter(|_| !is_end).map(|last| last.place);
    let next = last.map(|last| {
        if stopped == Some(last.user_id) {
            last.after_user()
        } else {
            last
        }
    });
    (found, next)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of users and versions: `d` is due, `s` stays, `.` is neither.
    fn looked(users: &[(i64, i32, &str)]) -> Vec<Looked> {
        let of = |(user_id, first, versions): &(i64, i32, &str)| {
            let (user_id, first) = (*user_id, *first);
            let rows = versions.chars().zip(first..).map(move |(what, version)| Looked {
                place: Place { user_id, version },
                is_due: what == 'd',
                stays: what == 's',
            });
            rows.collect::<Vec<_>>()
        };
        users.iter().flat_map(of).collect()
    }

    fn due_of(user_id: i64, base: i32, versions: i64) -> Due {
        Due {
            user_id,
            base,
            versions,
        }
    }

    #[test]
    fn versions_are_due_up_to_the_first_that_stays() {
        let rows = looked(&[
            (1, 1, ".dds"),
            (2, 1, "."),
            (3, 1, ".dsd"),
            (4, 5, "..sd"),
            (5, 1, "sd"),
        ]);
        let expected = vec![due_of(1, 3, 2), due_of(3, 2, 1)];
        assert_eq!(due(&rows, 500, true), (expected, None));
    }

    #[test]
    fn a_batch_ends_with_what_it_takes_or_has_looked_at() {
        let rows = looked(&[(1, 1, ".dd"), (2, 1, ".ddd")]);
        let place = |user_id, version| Some(Place { user_id, version });
        let first = vec![due_of(1, 3, 2), due_of(2, 2, 1)];
        assert_eq!(due(&rows, 3, true), (first, place(2, 2)));
        let all = || vec![due_of(1, 3, 2), due_of(2, 4, 3)];
        assert_eq!(due(&rows, 500, false), (all(), place(2, 4)));
        assert_eq!(due(&rows, 500, true), (all(), None));
        // Whatever comes after a version that stays: it is of no use to look at it.
        let rows = looked(&[(1, 1, ".ds")]);
        let next = Some(Place {
            user_id: 1,
            version: i32::MAX,
        });
        assert_eq!(due(&rows, 500, false), (vec![due_of(1, 2, 1)], next));
        assert_eq!(due(&[], 500, true), (Vec::new(), None));
    }
}
