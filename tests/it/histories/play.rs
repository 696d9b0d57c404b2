//! A history as it is played: the steps one after the other, and after each pass the question what came of it.

mod ending;
mod faults;
mod overtaking;

use std::{
    collections::BTreeSet,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use calmirror::{
    calcom::ApiClient,
    config,
    model::UserId,
    simulator::{ClientInfo, Simulator},
    store::Store,
    sync::{Pass, Report},
};
use sqlx::{AssertSqlSafe, PgPool};
use tokio_util::sync::CancellationToken;

use self::faults::Lasting;
use super::{
    source::{Source, pick},
    steps::{Course, Event, History, Step, Terms},
};
use crate::support::{
    oracle::Oracle,
    world::{World, client, source, store},
};

/// What one history after the other is played on.
pub(super) struct Stage {
    world: World,
    /// Of two processes on one database: the one that makes most passes, and the one that they overtake.
    stores: [Store; 2],
}

impl Stage {
    pub(super) async fn new() -> Self {
        let world = World::new(1).await;
        Self {
            stores: [store(&world.db, 1), store(&world.db, 1)],
            world,
        }
    }

    /// Plays a history from its first user to its quiet end.
    ///
    /// # Errors
    ///
    /// The step after which a promise did not hold, and which.
    pub(super) async fn play(&mut self, history: &History) -> Result<(), String> {
        self.clear().await;
        let info = ClientInfo {
            name: "acme".to_owned(),
            id: "cmhistory".to_owned(),
            secret: "a secret".to_owned(),
            users: Vec::new(),
        };
        let Self { world, stores } = self;
        world.simulator.remove_client(&info.id);
        world.simulator.add_client(&info.name, &info.id, &info.secret);
        let mut play = Play {
            oracle: Oracle::on(world.pool.clone(), &info.id),
            source: Source::new(&world.simulator, &info.id),
            world,
            simulator: &world.simulator,
            pool: &world.pool,
            base_url: world.simulator.base_url(),
            stores,
            client: client(&info),
            terms: history.removal,
            faults: Vec::new(),
        };
        for _ in 0..history.users {
            play.event(Event::Create);
        }
        for (number, step) in history.steps.iter().enumerate() {
            play.step(step)
                .await
                .map_err(|wrong| format!("after step {number}, {step:?}:\n{wrong}"))?;
        }
        play.quiet_end()
            .await
            .map_err(|wrong| format!("at the quiet end:\n{wrong}"))
    }

    /// As if nothing had ever happened.
    async fn clear(&self) {
        self.world.simulator.clear_scripts();
        self.world.simulator.keep_answers(true);
        let tables: Vec<String> = sqlx::query_scalar(
            "select quote_ident(tablename) from pg_tables where schemaname = 'public' and tablename !~ '^_'",
        )
        .fetch_all(&self.world.pool)
        .await
        .expect("tables can be listed");
        let statement = format!("truncate {} restart identity", tables.join(", "));
        sqlx::raw_sql(AssertSqlSafe(statement))
            .execute(&self.world.pool)
            .await
            .expect("tables can be emptied");
    }
}

/// One history under way.
struct Play<'a> {
    oracle: Oracle,
    source: Source<'a>,
    world: &'a World,
    simulator: &'a Simulator,
    pool: &'a PgPool,
    base_url: String,
    stores: &'a mut [Store; 2],
    client: config::Client,
    terms: Terms,
    faults: Vec<Lasting>,
}

impl Play<'_> {
    async fn step(&mut self, step: &Step) -> Result<(), String> {
        match step {
            Step::Source(event) => self.event(*event),
            Step::Watch(user) => {
                let users = self.source.everybody();
                let unwatched: Vec<i64> = users
                    .into_iter()
                    .filter(|user| !self.watched().contains(user))
                    .collect();
                self.watch(pick(&unwatched, *user));
            }
            Step::Unwatch(user) => {
                // A client without users is refused by the configuration.
                if self.client.watch.listed.len() > 1 {
                    let user = pick(&self.watched(), *user);
                    crate::support::world::watch(&mut self.client, |users| {
                        users.retain(|watched| Some(watched.0) != user)
                    });
                }
            }
            Step::WatchNobody => {
                let nobody = self.source.free_id();
                self.watch(Some(nobody));
            }
            Step::Fault { whom, fault, passes } => self.faults.push(Lasting {
                whom: *whom,
                fault: *fault,
                passes: *passes,
            }),
            Step::Pass(course) => {
                self.pass(course).await?;
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event) {
        let new = self.source.happens(event);
        self.watch(new);
    }

    fn watch(&mut self, user: Option<i64>) {
        crate::support::world::watch(&mut self.client, |users| users.extend(user.map(UserId)));
    }

    fn watched(&self) -> Vec<i64> {
        self.client.watch.listed.iter().map(|user| user.0).collect()
    }

    /// A pass as this history configures it.
    fn prepare<'b>(
        &'b self,
        store: &'b Store,
        client: &'b config::Client,
        source: &'b ApiClient,
    ) -> Pass<'b, ApiClient> {
        Pass {
            source,
            client,
            removal: self.terms.removal(),
            ..self.world.prepare(store, &self.base_url)
        }
    }

    /// One pass, or two of which one overtakes the other, and what the oracle says of it.
    async fn pass(&mut self, course: &Course) -> Result<Option<Report>, String> {
        match course {
            Course::Overtaken { hold, meanwhile } => {
                self.overtaken(*hold, meanwhile).await?;
                Ok(None)
            }
            _ => self.one_pass(course).await,
        }
    }

    async fn one_pass(&mut self, course: &Course) -> Result<Option<Report>, String> {
        self.bring_faults(None);
        let begun = self
            .oracle
            .begin_pass(self.simulator, &self.watched(), self.terms.removal())
            .await;
        let (tag, asked) = (begun.tag(), begun.base_url(self.simulator));
        let source = source(&asked, &self.client);
        let prepared = self.prepare(&self.stores[0], &self.client, &source);
        let cancel = CancellationToken::new();
        let report = match course {
            Course::Cut { answers } => {
                let mut pass = pin!(prepared.run(&cancel));
                tokio::select! {
                    report = &mut pass => Some(report),
                    () = answered_users(self.simulator, &tag, usize::from(*answers)) => {
                        cancel.cancel();
                        Some(pass.await)
                    }
                }
            }
            Course::Crash { answers, polls } => {
                let answered = answered_users(self.simulator, &tag, usize::from(*answers));
                poll_for(pin!(prepared.run(&cancel)), answered, *polls).await
            }
            _ => Some(prepared.run(&cancel).await),
        };
        if report.is_none() {
            self.stores[0] = store(&self.world.db, 1);
        }
        self.faults_fade();
        let run = report.as_ref().and_then(|report| report.run_id);
        self.oracle.end_pass(self.simulator, begun, run).await;
        self.oracle.check().await?;
        Ok(report)
    }
}

/// Waits until so many users have been answered for at a tag.
async fn answered_users(simulator: &Simulator, tag: &str, wanted: usize) {
    simulator
        .wait_for_answers(|answers| {
            let ours = answers.iter().filter(|answer| answer.tag.as_deref() == Some(tag));
            let users: BTreeSet<i64> = ours.filter_map(|answer| answer.user_id).collect();
            users.len() >= wanted
        })
        .await;
}

/// Polls a pass until the answers have come and it was polled so often more, or until it ends.
async fn poll_for(
    mut pass: Pin<&mut impl Future<Output = Report>>,
    answered: impl Future<Output = ()>,
    polls: u8,
) -> Option<Report> {
    let mut answered = pin!(answered);
    let mut left = None;
    poll_fn(|cx| {
        if left.is_none() && answered.as_mut().poll(cx).is_ready() {
            left = Some(polls);
        }
        match &mut left {
            Some(0) => return Poll::Ready(None),
            Some(left) => *left -= 1,
            None => {}
        }
        let polled = pass.as_mut().poll(cx).map(Some);
        if polled.is_pending() && left == Some(0) {
            return Poll::Ready(None);
        }
        polled
    })
    .await
}
