//! Two passes of which one overtakes the other.

use calmirror::{
    simulator::{Answer, Target},
    sync::Pass,
};
use tokio_util::sync::CancellationToken;

use super::{Play, answered_users, poll_for};
use crate::{
    histories::{
        source::pick,
        steps::{Course, Event, Hold},
    },
    support::world::{LIMIT, source},
};

impl Play<'_> {
    /// A pass stands still until another process has made a whole pass.
    pub(super) async fn overtaken(&mut self, hold: Hold, meanwhile: &[Event]) -> Result<(), String> {
        let held = match hold {
            Hold::Answer(user) => pick(&self.watched(), user),
            Hold::Polls { .. } => None,
        };
        self.bring_faults(held);
        if let Some(held) = held {
            self.simulator.script(Target::User(held), 1, Answer::Hang);
        }
        let begun = self
            .oracle
            .begin_pass(self.simulator, &self.watched(), self.terms.removal())
            .await;
        let runs_before = self.runs().await;
        let (tag, asked) = (begun.tag(), begun.base_url(self.simulator));
        let (store, client, world) = (self.stores[1].clone(), self.client.clone(), self.world);
        let source = source(&asked, &client);
        let base_url = self.base_url.clone();
        let removal = self.terms.removal();
        // Of its own, for this history goes on meanwhile.
        let mut older = Box::pin(async move {
            let prepared = Pass {
                source: &source,
                client: &client,
                removal,
                ..world.prepare(&store, &base_url)
            };
            prepared.run(&CancellationToken::new()).await
        });
        let others = self.client.watch.listed.len() - 1;
        let mut ended = match hold {
            Hold::Answer(_) => {
                let held_up = async {
                    answered_users(self.simulator, &tag, others).await;
                    self.simulator.wait_until(|counts| counts.hanging > 0).await;
                };
                tokio::select! {
                    report = &mut older => Some(report),
                    () = held_up => None,
                }
            }
            Hold::Polls { answers, polls } => {
                let answered = answered_users(self.simulator, &tag, usize::from(answers));
                poll_for(older.as_mut(), answered, polls).await
            }
        };
        while ended.is_none() && (self.runs().await == runs_before || self.is_writing().await) {
            ended = poll_for(older.as_mut(), std::future::ready(()), 1).await;
        }
        self.faults_fade();
        let mut newer = Ok(None);
        let report = match ended {
            Some(report) => report,
            None => {
                self.oracle.note_pass(self.simulator, &begun).await;
                for event in meanwhile {
                    self.event(*event);
                }
                newer = self.one_pass(&Course::Whole).await;
                self.simulator.release();
                // Also where a promise is broken already: nothing is left behind for the next history.
                tokio::time::timeout(LIMIT, older)
                    .await
                    .map_err(|_| "an overtaken pass does not end".to_owned())?
            }
        };
        newer?;
        self.oracle.end_pass(self.simulator, begun, report.run_id).await;
        self.oracle.check().await
    }

    /// How many passes are on record.
    async fn runs(&self) -> i64 {
        sqlx::query_scalar("select count(*) from sync_runs")
            .fetch_one(self.pool)
            .await
            .expect("runs can be read")
    }

    /// Whether a pass is in a transaction.
    async fn is_writing(&self) -> bool {
        sqlx::query_scalar(
            "select exists (
                 select from pg_stat_activity
                 where datname = current_database() and application_name = 'calmirror' and state <> 'idle'
             )",
        )
        .fetch_one(self.pool)
        .await
        .expect("activity can be seen")
    }
}
