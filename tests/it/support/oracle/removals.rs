//! Promises 4 and 5: removals are proven, and few.

use std::collections::{BTreeMap, BTreeSet};

use super::{Pass, View, record::Said, tables::Entry};

impl Pass {
    /// Another user of the client answered with a record.
    fn has_control(&self, user: i64) -> bool {
        self.served
            .iter()
            .any(|(other, said)| *other != user && *said != Said::Gone)
    }
}

impl View<'_> {
    /// Each removal has enough passes behind it that were told so, and none between that saw the user.
    pub(super) fn removals(&self, wrong: &mut Vec<String>) {
        for entry in self.tables.ledger.iter().filter(|entry| entry.kind == "removal") {
            let user = entry.user;
            let Some((index, pass)) = self.pass_of(entry.run) else {
                wrong.push(format!(
                    "removal: user {user} was removed by run {}, which is no pass",
                    entry.run
                ));
                continue;
            };
            if pass.served.get(&user) != Some(&Said::Gone) {
                wrong.push(format!(
                    "removal: user {user} was removed by pass {index}, which was served {:?}",
                    pass.served.get(&user)
                ));
            }
            let approved = self.run_of(pass).is_some_and(|run| run.trigger == "approval");
            if approved {
                continue;
            }
            if !pass.has_control(user) {
                wrong.push(format!(
                    "removal: pass {index} removed user {user} without another that answered"
                ));
            }
            let proofs = self.proofs(user, index, entry.version);
            let needed = usize::try_from(pass.removal.confirmations).expect("it is small");
            if proofs < needed {
                wrong.push(format!(
                    "removal: pass {index} removed user {user} after {proofs} proofs of {needed}"
                ));
            }
        }
    }

    /// In how many passes up to `last` the user was said to be gone, with a control, since it was last seen for sure.
    fn proofs(&self, user: i64, last: usize, version: i32) -> usize {
        let seen_by_ledger = self
            .tables
            .ledger
            .iter()
            .filter(|entry| entry.user == user && entry.version < version)
            .filter_map(|entry| self.pass_of(entry.run))
            .map(|(index, _)| index)
            .max();
        let mut proofs = 0;
        for (index, pass) in self.passes.iter().enumerate().take(last + 1).rev() {
            match pass.served.get(&user) {
                Some(Said::Gone) if pass.has_control(user) => proofs += 1,
                Some(Said::Present(_) | Said::Unreadable) if self.heard_out(pass) => break,
                _ => {}
            }
            if Some(index) == seen_by_ledger {
                break;
            }
        }
        proofs
    }

    /// No pass removed more than it may, nor everybody.
    pub(super) fn guard(&self, wrong: &mut Vec<String>) {
        let mut by_run: BTreeMap<i64, Vec<&Entry>> = BTreeMap::new();
        for entry in self.tables.ledger.iter().filter(|entry| entry.kind == "removal") {
            by_run.entry(entry.run).or_default().push(entry);
        }
        for (run, removals) in by_run {
            let Some((index, pass)) = self.pass_of(run) else {
                continue;
            };
            if self.run_of(pass).is_some_and(|run| run.trigger == "approval") {
                continue;
            }
            let first = removals.iter().map(|entry| entry.change_id).min();
            let live = self.live_before(first.unwrap_or_default());
            let live = live.intersection(&pass.watched).count();
            #[expect(
                clippy::cast_precision_loss,
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "tests have few users"
            )]
            let share = (live as f64 * pass.removal.max_percent / 100.0).floor() as usize;
            let limit = share.max(usize::try_from(pass.removal.max_count).expect("it is small"));
            let count = removals.len();
            if count > limit || count >= live {
                wrong.push(format!(
                    "guard: pass {index} removed {count} of {live} live users, where {limit} is the limit"
                ));
            }
        }
    }

    fn live_before(&self, change: i64) -> BTreeSet<i64> {
        let mut live = BTreeSet::new();
        for entry in self.tables.ledger.iter().filter(|entry| entry.change_id < change) {
            match entry.kind.as_str() {
                "removal" => live.remove(&entry.user),
                "insert" | "restore" => live.insert(entry.user),
                _ => false,
            };
        }
        live
    }

    /// What is on record as missing or rejected is so by what was served last.
    pub(super) fn candidates(&self, wrong: &mut Vec<String>) {
        for (user, confirmations) in &self.tables.missing {
            let row = self.tables.rows.get(user);
            if row.is_some_and(|row| row.removed) {
                wrong.push(format!(
                    "atomicity: user {user} is removed and still on record as missing"
                ));
            }
            let proofs = match row {
                None => 0,
                Some(row) => self.proofs(*user, self.passes.len().saturating_sub(1), row.version + 1),
            };
            if usize::try_from(*confirmations).map_or(true, |confirmations| confirmations > proofs) {
                wrong.push(format!(
                    "removal: user {user} is on record with {confirmations} confirmations, and {proofs} were served"
                ));
            }
        }
        let Some(pass) = self.passes.last().filter(|pass| self.heard_out(pass)) else {
            return;
        };
        for (user, said) in &pass.served {
            let live = self.tables.rows.get(user).is_some_and(|row| !row.removed);
            let known = self.tables.rows.contains_key(user);
            let (missing, rejected) = (
                self.tables.missing.contains_key(user),
                self.tables.rejects.contains(user),
            );
            let expected = match said {
                Said::Present(_) => (false, false),
                Said::Unreadable => (false, true),
                Said::Gone => (live || !known, false),
            };
            if (missing, rejected) != expected && !self.tables.forgotten.contains(user) {
                wrong.push(format!(
                    "atomicity: user {user} was served as {said:?}, and is on record as missing: {missing}, rejected: \
                     {rejected}"
                ));
            }
        }
    }
}
