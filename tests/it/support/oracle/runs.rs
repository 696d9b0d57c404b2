//! Promises 6, 7 and 11: what is on record of passes is what they did.

use super::{View, record::Said};

impl View<'_> {
    /// Each run counts the rows that it wrote to the ledger, and what it was served.
    pub(super) fn counts(&self, wrong: &mut Vec<String>) {
        let newest = self.tables.runs.keys().next_back();
        for (id, run) in &self.tables.runs {
            let written = |kind: &str| {
                let of_kind = |entry: &&super::tables::Entry| entry.run == *id && entry.kind == kind;
                i64::try_from(self.tables.ledger.iter().filter(of_kind).count()).expect("tests write few")
            };
            let on_record = [run.inserted, run.updated, run.removed, run.restored];
            let in_ledger = ["insert", "update", "removal", "restore"].map(written);
            if on_record != in_ledger {
                wrong.push(format!(
                    "atomicity: run {id} counts {on_record:?}, and the ledger has {in_ledger:?}"
                ));
            }
            if run.outcome.is_none() && Some(id) != newest {
                wrong.push(format!("atomicity: run {id} is open, and it is not the newest"));
            }
            if run.outcome.is_some() != run.finished_at.is_some() {
                wrong.push(format!("atomicity: run {id} has only one of outcome and end"));
            }
            let changes: i64 = in_ledger.iter().sum();
            let contradicts = match run.outcome.as_deref() {
                Some("no_change") => changes > 0,
                Some("applied") => changes == 0,
                Some("held") => in_ledger[2] > 0,
                _ => false,
            };
            if contradicts {
                wrong.push(format!(
                    "atomicity: run {id} says {:?} and wrote {in_ledger:?}",
                    run.outcome
                ));
            }
        }
        for (index, pass) in self.passes.iter().enumerate() {
            let Some(run) = self.run_of(pass).filter(|_| self.heard_out(pass)) else {
                continue;
            };
            let count = |wanted: &dyn Fn(&Said) -> bool| {
                i64::try_from(pass.served.values().filter(|said| wanted(said)).count()).expect("they are few")
            };
            let watched = i64::try_from(pass.watched.len()).expect("they are few");
            let served = [
                count(&|_| true),
                count(&|said| *said == Said::Gone),
                count(&|said| *said == Said::Unreadable),
                watched - count(&|_| true),
            ];
            let on_record = [run.observed, run.missing, run.rejected, run.unanswered];
            if served != on_record {
                wrong.push(format!(
                    "atomicity: pass {index} was served {served:?} (all, gone, unreadable, unanswered), and counts {on_record:?}"
                ));
            }
        }
    }

    /// Once a pass has ended, no earlier one writes.
    pub(super) fn fence(&self, wrong: &mut Vec<String>) {
        for entry in &self.tables.ledger {
            let overtaken = self.passes.iter().any(|pass| {
                pass.ended
                    && pass.run.is_some_and(|run| run > entry.run)
                    && entry.change_id > pass.ledger_at_end
            });
            if overtaken {
                wrong.push(format!(
                    "fence: run {} wrote version {} of user {} after a later run had ended",
                    entry.run, entry.version, entry.user
                ));
            }
        }
        for pair in self.tables.ledger.windows(2) {
            if pair[0].run > pair[1].run {
                wrong.push(format!(
                    "fence: run {} wrote after run {}",
                    pair[1].run, pair[0].run
                ));
            }
        }
    }

    /// Only a pass that was told something of every user counts as complete, and freshness is that of the newest such.
    pub(super) fn freshness(&self, wrong: &mut Vec<String>) {
        let complete = |outcome: &Option<String>| matches!(outcome.as_deref(), Some("applied" | "no_change"));
        for (index, pass) in self.passes.iter().enumerate() {
            let Some(run) = self.run_of(pass).filter(|run| complete(&run.outcome)) else {
                continue;
            };
            let unproven: Vec<&i64> = pass
                .watched
                .iter()
                .filter(|user| matches!(pass.served.get(user), None | Some(Said::Unreadable)))
                .collect();
            if !unproven.is_empty() {
                wrong.push(format!(
                    "freshness: pass {index} says {:?}, and was told nothing of users {unproven:?}",
                    run.outcome
                ));
            }
            let gone = pass.served.values().filter(|said| **said == Said::Gone).count();
            if gone > 0 && gone == pass.served.len() {
                wrong.push(format!(
                    "freshness: pass {index} is complete, though every user was said to be gone"
                ));
            }
        }
        let newest = self.tables.runs.values().rfind(|run| complete(&run.outcome));
        let state = self.tables.freshness.as_ref();
        let expected = (
            newest.map(|run| run.run_id),
            newest.and_then(|run| run.finished_at),
        );
        let actual = (
            state.and_then(|state| state.last_complete_run_id),
            state.and_then(|state| state.last_complete_at),
        );
        if expected != actual {
            wrong.push(format!(
                "freshness: is that of {actual:?}, and the newest complete run is {expected:?}"
            ));
        }
    }
}
