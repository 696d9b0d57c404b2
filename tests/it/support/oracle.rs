//! An oracle: it keeps what the simulator really served, and says whether the tables can have come of that.
//!
//! It knows the promises and none of the product's code that keeps them. A test tells it where each pass begins and ends:
//!
//! ```text
//! simulator.keep_answers(true);
//! let mut oracle = Oracle::new(&db, client_id).await;
//! let pass = oracle.begin_pass(&simulator, &watched, removal).await;
//! …one pass, in process or as a program; asking at `pass.base_url(&simulator)` where another one runs at the same time…
//! oracle.end_pass(&simulator, pass, Some(run_id)).await;   // `None` if it died: the run is looked up
//! oracle.check().await.unwrap();
//! ```

mod fidelity;
mod record;
mod removals;
mod runs;
mod tables;
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use calmirror::{
    config::Removal,
    simulator::{Answered, RouteKind, Simulator},
};
use sqlx::PgPool;

use self::{
    record::{Said, said},
    tables::{Run, Tables, tuples},
};
use super::{TestDb, world::LIMIT};

/// Keeps account of the passes over one client.
#[derive(Debug)]
pub(crate) struct Oracle {
    pool: PgPool,
    client: String,
    /// In the order of their beginnings.
    passes: Vec<Pass>,
    /// Against promises that only show while a pass goes on.
    seen: Vec<String>,
    /// What stood there when a pass last ended.
    at_last_end: BTreeMap<(String, i64), String>,
}

/// A pass that has begun.
#[derive(Debug)]
#[must_use = "a pass that begins also ends"]
pub(crate) struct Begun {
    index: usize,
    tuples: BTreeMap<(String, i64), String>,
}

impl Begun {
    /// Where this pass, and no other one, asks. Not the identity of the source: that is [`Simulator::base_url`].
    pub(crate) fn base_url(&self, simulator: &Simulator) -> String {
        simulator.tagged_base_url(&self.tag())
    }

    /// The tag of its answers.
    pub(crate) fn tag(&self) -> String {
        self.index.to_string()
    }
}

#[derive(Clone, Debug)]
struct Pass {
    watched: BTreeSet<i64>,
    removal: Removal,
    /// The last answer kept before it.
    from: u64,
    ended: bool,
    run: Option<i64>,
    /// What was served to it, by user: the last answer that says anything.
    served: BTreeMap<i64, Said>,
    /// The ledger's last row when it ended.
    ledger_at_end: i64,
}

impl Oracle {
    /// For a database without any pass of this client.
    pub(crate) async fn new(db: &TestDb, client: &str) -> Self {
        Self::on(db.pool().await, client)
    }

    /// With connections that are there already.
    pub(crate) fn on(pool: PgPool, client: &str) -> Self {
        Self {
            pool,
            client: client.to_owned(),
            passes: Vec::new(),
            seen: Vec::new(),
            at_last_end: BTreeMap::new(),
        }
    }

    /// The same account, for a copy of the database that was made when no pass was under way.
    pub(crate) fn on_copy(&self, pool: PgPool) -> Self {
        Self {
            pool,
            client: self.client.clone(),
            passes: self.passes.clone(),
            seen: self.seen.clone(),
            at_last_end: self.at_last_end.clone(),
        }
    }

    /// Before the pass begins. The answers without a tag are those of the pass that began last.
    pub(crate) async fn begin_pass(
        &mut self,
        simulator: &Simulator,
        watched: &[i64],
        removal: Removal,
    ) -> Begun {
        let from = simulator.answers().last().map_or(0, |answer| answer.sequence);
        self.passes.push(Pass {
            watched: watched.iter().copied().collect(),
            removal,
            from,
            ended: false,
            run: None,
            served: BTreeMap::new(),
            ledger_at_end: 0,
        });
        Begun {
            index: self.passes.len() - 1,
            tuples: tuples(&self.pool).await,
        }
    }

    /// While the pass stands still: what it did so far can be checked then.
    pub(crate) async fn note_pass(&mut self, simulator: &Simulator, begun: &Begun) {
        let run = self.unclaimed_run().await;
        self.passes[begun.index].run = run;
        self.take_answers(simulator, begun);
    }

    /// After the pass has ended. Without its run, as of one that was killed, that is the newest that nobody else has, if
    /// there is one; no other pass may be under way then.
    pub(crate) async fn end_pass(&mut self, simulator: &Simulator, begun: Begun, run: Option<i64>) {
        let run = match run {
            Some(run) => Some(run),
            None => {
                self.wait_until_nobody_writes().await;
                self.unclaimed_run().await
            }
        };
        self.take_answers(simulator, &begun);
        let after = tuples(&self.pool).await;
        let ledger_at_end = after
            .keys()
            .filter(|(table, _)| table == "managed_user_changes")
            .map(|(_, change)| *change)
            .max();
        let alone = self
            .passes
            .iter()
            .enumerate()
            .all(|(index, pass)| index == begun.index || pass.ended);
        self.look_at_tuples(&begun, &after, alone).await;
        let pass = &mut self.passes[begun.index];
        pass.run = run;
        pass.ended = true;
        pass.ledger_at_end = ledger_at_end.unwrap_or_default();
        self.at_last_end = after;
    }

    /// Takes account of what was served to a pass up to now. For one without a tag, before another one begins.
    pub(crate) fn take_answers(&mut self, simulator: &Simulator, begun: &Begun) {
        let tag = begun.tag();
        let latest = self.passes.len() - 1 == begun.index;
        for answer in simulator.answers_after(self.passes[begun.index].from) {
            let ours = answer.tag.as_ref().map_or(latest, |its| *its == tag);
            if ours
                && self.client_is(&answer)
                && let (Some(user), Some(said)) = (answer.user_id, said(&answer))
            {
                self.passes[begun.index].served.insert(user, said);
            }
        }
    }

    /// Whether the tables can have come of what was served, by every promise; else each thing that is wrong, in a line.
    pub(crate) async fn check(&self) -> Result<(), String> {
        let tables = Tables::read(&self.pool, &self.client).await;
        let view = View {
            tables: &tables,
            passes: &self.passes,
        };
        let mut wrong = self.seen.clone();
        view.fidelity(&mut wrong);
        view.replay(&mut wrong);
        view.removals(&mut wrong);
        view.guard(&mut wrong);
        view.candidates(&mut wrong);
        view.counts(&mut wrong);
        view.fence(&mut wrong);
        view.freshness(&mut wrong);
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n"))
        }
    }

    fn client_is(&self, answer: &Answered) -> bool {
        answer.kind == RouteKind::GetUser && answer.client_id.as_ref() == Some(&self.client)
    }

    /// The server finishes what it was told to do, whether or not somebody still waits for it.
    async fn wait_until_nobody_writes(&self) {
        let quiet = async {
            loop {
                let busy: i64 = sqlx::query_scalar(
                    "select count(*) from pg_stat_activity
                     where datname = current_database() and application_name = 'calmirror' and state <> 'idle'",
                )
                .fetch_one(&self.pool)
                .await
                .expect("activity can be seen");
                if busy == 0 {
                    break;
                }
            }
        };
        tokio::time::timeout(LIMIT, quiet)
            .await
            .expect("whoever died is noticed");
    }

    async fn unclaimed_run(&self) -> Option<i64> {
        let claimed: Vec<i64> = self.passes.iter().filter_map(|pass| pass.run).collect();
        sqlx::query_scalar(
            "select max(run_id) from sync_runs where client_id = $1 and run_id > coalesce((select max(id) from unnest($2) as claimed (id)), 0)",
        )
        .bind(&self.client)
        .bind(claimed)
        .fetch_one(&self.pool)
        .await
        .expect("runs can be read")
    }

    /// A row is touched only if its user changed, and a pass that was overtaken touches nothing.
    async fn look_at_tuples(&mut self, begun: &Begun, after: &BTreeMap<(String, i64), String>, alone: bool) {
        let before = &begun.tuples;
        let changed: BTreeSet<i64> =
            sqlx::query_scalar("select user_id from managed_user_changes where change_id > $1")
                .bind(
                    before
                        .keys()
                        .filter(|(table, _)| table == "managed_user_changes")
                        .map(|(_, change)| *change)
                        .max()
                        .unwrap_or_default(),
                )
                .fetch_all(&self.pool)
                .await
                .expect("the ledger can be read")
                .into_iter()
                .collect();
        for (key, tuple) in after {
            let (table, id) = key;
            let was = before.get(key);
            if table == "managed_users" && was != Some(tuple) && !changed.contains(id) {
                self.seen.push(format!(
                    "quiescence: row of user {id} was touched, but the ledger has no change of it"
                ));
            }
            if table == "managed_user_changes" && was.is_some_and(|was| was != tuple) {
                self.seen
                    .push(format!("replay: row {id} of the ledger was rewritten"));
            }
        }
        for (table, id) in before.keys().filter(|key| !after.contains_key(*key)) {
            if table == "managed_users" || table == "managed_user_changes" {
                self.seen.push(format!("replay: {table} has lost row {id}"));
            }
        }
        let overtaken = self.passes[begun.index + 1..]
            .iter()
            .any(|newer| newer.ended && newer.run.is_some());
        if overtaken && alone && *after != self.at_last_end {
            self.seen.push(format!(
                "fence: pass {} was overtaken and still wrote",
                begun.index
            ));
        }
    }
}

/// What the promises are held against.
#[derive(Clone, Copy, Debug)]
struct View<'a> {
    tables: &'a Tables,
    passes: &'a [Pass],
}

impl<'a> View<'a> {
    fn pass_of(&self, run: i64) -> Option<(usize, &'a Pass)> {
        self.passes
            .iter()
            .enumerate()
            .find(|(_, pass)| pass.run == Some(run))
    }

    fn run_of(&self, pass: &Pass) -> Option<&'a Run> {
        self.tables.runs.get(&pass.run?)
    }

    /// Whether the pass says that it took notice of all that was served to it.
    fn heard_out(&self, pass: &Pass) -> bool {
        let watched = i64::try_from(pass.watched.len()).expect("tests have few users");
        self.run_of(pass).is_some_and(|run| {
            matches!(
                run.outcome.as_deref(),
                Some("applied" | "no_change" | "held" | "partial")
            ) && run.observed + run.unanswered == watched
        })
    }
}
