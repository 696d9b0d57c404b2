//! A pass in which everything happens that can happen to a user.

use std::collections::{BTreeMap, BTreeSet};

use axum::body::Bytes;
use serde_json::json;
use sqlx::PgPool;

use super::{
    assert_converged, assert_left,
    points::is_from,
    rig::{Rig, Tables},
};
use crate::support::{TestDb, oracle::Oracle};

const USERS: usize = 640;

/// One user of each kind is asked for early and one late.
const PLACES: [usize; 2] = [10, 620];

/// Everything up to a pass that has much to do.
pub(super) struct Later {
    pub(super) rig: Rig,
    /// As that pass finds it.
    pub(super) db: TestDb,
    oracle: Oracle,
    before: Tables,
    roles: Roles,
}

/// What the pass finds of some of the users; of the others, nothing new.
struct Roles {
    /// Not watched before.
    new: [i64; 2],
    /// Removed before, and there again.
    back: [i64; 2],
    /// Gone for the second time.
    due: [i64; 2],
    /// Gone in the pass before, and there again.
    sighted: [i64; 2],
    /// Gone for the first time.
    gone: [i64; 2],
    /// Unreadable in the pass before.
    mended: [i64; 2],
    changed: [i64; 2],
}

impl Roles {
    fn of(users: &[i64]) -> Self {
        let nth = |offset: usize| PLACES.map(|place| users[place + offset]);
        Self {
            new: nth(0),
            back: nth(1),
            due: nth(2),
            sighted: nth(3),
            gone: nth(4),
            mended: nth(5),
            changed: nth(6),
        }
    }
}

impl Later {
    pub(super) async fn prepare() -> Self {
        let mut rig = Rig::new(USERS).await;
        let db = TestDb::new().await;
        let pool = db.pool().await;
        let mut oracle = rig.oracle(&pool);
        let all = rig.client.users.clone();
        let roles = Roles::of(&all);
        let known: Vec<i64> = all
            .iter()
            .copied()
            .filter(|user| !roles.new.contains(user))
            .collect();
        rig.watch(known);
        rig.sync(&mut oracle, &db, 0).await;

        let back = rig.delete(&roles.back);
        rig.sync(&mut oracle, &db, 0).await;
        let report = rig.sync(&mut oracle, &db, 0).await;
        assert_eq!(report["removed"], 2);

        rig.delete(&roles.due);
        let sighted = rig.delete(&roles.sighted);
        let mended = rig.records(&roles.mended);
        rig.place(&roles.mended.map(|user| (user, Bytes::from_static(b"{}"))));
        let report = rig.sync(&mut oracle, &db, 4).await;
        assert_eq!((&report["rejected"], &report["missing"]), (&json!(2), &json!(6)));

        rig.place(&back);
        rig.place(&sighted);
        rig.place(&mended);
        rig.delete(&roles.gone);
        for user in roles.changed {
            rig.simulator
                .patch_user(user, json!({ "timeZone": "Asia/Tokyo" }))
                .expect("the user can be changed");
        }
        rig.watch(all);
        let before = Tables::look(&pool).await.expect("there are tables");
        pool.close().await;
        Self {
            rig,
            db,
            oracle,
            before,
            roles,
        }
    }

    /// Keeps account of a copy.
    pub(super) fn oracle_for(&self, pool: &PgPool) -> Oracle {
        self.rig.simulator.keep_answers(true);
        self.oracle.on_copy(pool.clone())
    }

    pub(super) async fn kill_and_complete(&self, point: &str, hit: u32) {
        let db = self.db.copy().await;
        let pool = db.pool().await;
        let mut oracle = self.oracle_for(&pool);
        self.rig.kill_at(&mut oracle, &db, point, hit).await;
        let killed = Tables::look(&pool).await.expect("there are tables");
        assert_left(&killed, Some(&self.before), point, hit);
        self.assert_confirmed(&killed, point);

        let report = self.rig.sync(&mut oracle, &db, 0).await;
        assert_eq!(report["observed"], USERS);
        let after = Tables::look(&pool).await.expect("there are tables");
        assert_converged(&after, Some(&killed));
        // The killed pass was the first of two in which these were gone, if it came to its end far enough.
        let counted = is_from(point, "confirmation::after_commit");
        let mut removed: BTreeSet<i64> = self.roles.due.into();
        if counted {
            removed.extend(self.roles.gone);
        } else {
            let once = self.roles.gone.map(|user| (user, 1));
            assert_eq!(after.confirmations, once.into());
        }
        assert_eq!(after.removed, removed);
        assert_eq!(self.changes_since(&after), self.expected_changes(&removed));
        let rejects: i64 = sqlx::query_scalar("select count(*) from rejects")
            .fetch_one(&pool)
            .await
            .expect("rejects can be read");
        assert_eq!(rejects, 0, "what can be read again is no reject");
        pool.close().await;
    }

    /// A pass counts at its end, once, and a removal ends the counting.
    fn assert_confirmed(&self, killed: &Tables, point: &str) {
        let of = |user: i64| killed.confirmations.get(&user).copied();
        let removed = is_from(point, "removals::after_commit");
        let counted = i32::from(is_from(point, "confirmation::after_commit"));
        for user in self.roles.due {
            assert_eq!(of(user), (!removed).then_some(1 + counted));
            assert_eq!(killed.removed.contains(&user), removed);
        }
        for user in self.roles.gone {
            assert_eq!(of(user).unwrap_or_default(), counted);
        }
    }

    /// How often the ledger has each change beyond those that it had before.
    fn changes_since(&self, after: &Tables) -> BTreeMap<(String, i64), i64> {
        let mut changes = after.changes.clone();
        for (change, count) in &self.before.changes {
            *changes.entry(change.clone()).or_default() -= count;
        }
        changes.retain(|_, count| *count != 0);
        changes
    }

    fn expected_changes(&self, removed: &BTreeSet<i64>) -> BTreeMap<(String, i64), i64> {
        let removed: Vec<i64> = removed.iter().copied().collect();
        let kinds: [(&str, &[i64]); 4] = [
            ("insert", &self.roles.new),
            ("update", &self.roles.changed),
            ("restore", &self.roles.back),
            ("removal", &removed),
        ];
        let changes = kinds
            .into_iter()
            .flat_map(|(kind, users)| users.iter().map(move |user| ((kind.to_owned(), *user), 1)));
        changes.collect()
    }
}
