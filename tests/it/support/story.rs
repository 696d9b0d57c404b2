//! A small past with every kind of change in it, written by the product's own store.
//!
//! The results in docs/queries.md are of this past, and so are the tests of the schema.

use std::{sync::Arc, time::Duration};

use calmirror::{
    compare::{ChangeSet, diff},
    model::{ClientId, FieldFault, Json, JsonObject, ManagedUser, Observation, Reject, RunOutcome, UserId},
    store::{Finish, Run, RunRecord, Store, Trigger},
};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;

pub(crate) const BASE_URL: &str = "https://api.cal.com";

/// What a client is called, and its id.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) name: &'static str,
    pub(crate) id: &'static str,
}

pub(crate) const ACME: Client = Client {
    name: "acme",
    id: "cm7acme",
};
pub(crate) const GLOBEX: Client = Client {
    name: "globex",
    id: "cm7globex",
};

/// A century: what is fresh stays so whenever the tests run.
const EVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// Who writes the story down, and when.
#[derive(Debug)]
pub(crate) struct Story<'a> {
    store: &'a Store,
    /// With a database's connections, each pass is dated back to its day; otherwise it has the day on which it is told.
    dates: Option<&'a PgPool>,
}

/// How a pass ended other than well.
#[derive(Clone, Copy, Debug)]
struct Shortfall {
    outcome: RunOutcome,
    error: &'static str,
    unanswered: u64,
}

impl<'a> Story<'a> {
    pub(crate) fn of_today(store: &'a Store) -> Self {
        Self { store, dates: None }
    }

    /// In spring 2025. For a mirror in the schema `public`.
    pub(crate) fn of_then(store: &'a Store, database: &'a PgPool) -> Self {
        Self {
            store,
            dates: Some(database),
        }
    }

    /// Two clients, seven users, ten passes.
    pub(crate) async fn tell(&self) {
        let alice = alice();
        let bob = user(102, ACME, "Bob Stone", "Europe/London", "2024-05-17T14:30:00Z");
        let carol = user(103, ACME, "Carol Diaz", "Europe/London", "2025-02-19T11:00:00Z");
        let dan = ManagedUser {
            metadata: Some(object(json!({"plan": "pro", "seats": 12}))),
            ..user(104, ACME, "Dan Okoro", "Africa/Lagos", "2025-02-19T16:45:00Z")
        };
        let first = [&alice, &bob, &carol, &dan].map(present).to_vec();
        self.good(ACME, "2025-02-20", first).await;

        let eve = ManagedUser {
            metadata: Some(object(json!({"plan": "pro"}))),
            ..user(201, GLOBEX, "Eve Tanaka", "Asia/Tokyo", "2025-02-28T09:10:00Z")
        };
        let frank = user(
            202,
            GLOBEX,
            "Frank Weber",
            "Europe/Berlin",
            "2025-03-01T10:00:00Z",
        );
        self.good(GLOBEX, "2025-03-02", vec![present(&eve), present(&frank)])
            .await;

        let alice = ManagedUser {
            time_zone: "Europe/Berlin".to_owned(),
            ..alice
        };
        let bob = ManagedUser {
            name: Some("Robert Stone".to_owned()),
            locale: Some("en-GB".to_owned()),
            ..bob
        };
        let second = [&alice, &bob, &carol, &dan].map(present).to_vec();
        self.good(ACME, "2025-03-05", second).await;

        let refused = Shortfall {
            outcome: RunOutcome::Failed,
            error: "cal.com refuses the client with 401 Unauthorized: the secret is wrong",
            unanswered: 1,
        };
        self.pass(ACME, "2025-03-10", Vec::new(), Some(refused)).await;

        let gone = || Observation::Gone(dan.id);
        let without_dan = [&alice, &bob, &carol].map(present).into_iter();
        self.good(ACME, "2025-03-15", without_dan.clone().chain([gone()]).collect())
            .await;
        let grace = ManagedUser {
            metadata: Some(object(json!({"plan": "free"}))),
            extra: object(json!({"pronouns": "she/her", "verified": true})),
            ..user(105, ACME, "Grace Lee", "Asia/Seoul", "2025-03-15T22:05:00Z")
        };
        let with_grace = without_dan.chain([gone(), present(&grace)]).collect();
        self.good(ACME, "2025-03-16", with_grace).await;

        let eve = ManagedUser {
            time_zone: "America/Los_Angeles".to_owned(),
            ..eve
        };
        let garbled = Shortfall {
            outcome: RunOutcome::Partial,
            error: "1 user has a record that cannot be mirrored; `calmirror status` lists them",
            unanswered: 0,
        };
        let halves = vec![present(&eve), unreadable(frank.id)];
        self.pass(GLOBEX, "2025-03-20", halves, Some(garbled)).await;

        let alice = ManagedUser {
            time_zone: "Europe/Paris".to_owned(),
            ..alice
        };
        let dan = ManagedUser {
            time_zone: "Europe/London".to_owned(),
            ..dan
        };
        let everyone = [&alice, &bob, &carol, &dan, &grace].map(present).to_vec();
        self.good(ACME, "2025-04-02", everyone.clone()).await;
        self.good(ACME, "2025-04-10", everyone).await;

        let id = self
            .store
            .record_run(
                &ClientId(GLOBEX.id.to_owned()),
                GLOBEX.name,
                Trigger::Operator,
                RunOutcome::Skipped,
                "an earlier tick was still waiting for its pass",
            )
            .await
            .expect("a skipped tick can be recorded");
        self.date_back(id, "2025-04-10").await;
    }

    /// A pass in which every user was observed.
    pub(crate) async fn good(&self, client: Client, day: &str, observations: Vec<Observation>) -> RunRecord {
        self.pass(client, day, observations, None).await
    }

    async fn pass(
        &self,
        client: Client,
        day: &str,
        observations: Vec<Observation>,
        shortfall: Option<Shortfall>,
    ) -> RunRecord {
        let run = begin(self.store, client).await;
        let observed = observations.len() as u64;
        let ids: Vec<UserId> = observations.iter().map(Observation::user_id).collect();
        let known = self.store.known(&run, &ids).await.expect("users can be read");
        let set = diff(&run.client_id, observations, &known);
        self.store
            .apply(&run, &set)
            .await
            .expect("a batch can be written");
        self.store
            .confirm_missing(&run, true)
            .await
            .expect("what was seen can be counted");
        let gone = self
            .store
            .confirmed_gone(&run, 2, Duration::ZERO, true)
            .await
            .expect("those who are gone can be read");
        let gone = ChangeSet {
            removals: gone,
            ..ChangeSet::default()
        };
        if !gone.is_empty() {
            self.store
                .apply_removals(&run, &gone)
                .await
                .expect("removals can be written");
        }
        let finish = Finish {
            rejected: set.rejected as u64,
            missing: set.missing as u64,
            unanswered: shortfall.map_or(0, |shortfall| shortfall.unanswered),
            shortfall: shortfall.map(|shortfall| shortfall.outcome),
            error: shortfall.map(|shortfall| shortfall.error),
            ..complete(observed, EVER)
        };
        let record = self
            .store
            .finish_run(&run, &finish)
            .await
            .expect("a pass can end");
        self.date_back(run.id, day).await;
        record
    }

    /// Moves what a pass wrote to its day, 08:00 UTC. The store itself has no other time than the database's clock.
    async fn date_back(&self, run: i64, day: &str) {
        let Some(database) = self.dates else { return };
        let at: DateTime<Utc> = format!("{day}T08:00:00Z").parse().expect("the day is one");
        for statement in [
            "update managed_user_changes set observed_at = $2 where run_id = $1",
            "update managed_users set changed_at = $2, first_seen_at = case version when 1 then $2 else first_seen_at end,
                removed_at = case when removed_at is not null then $2 end
             where id in (select user_id from managed_user_changes where run_id = $1)",
            "update sync_runs set started_at = $2, finished_at = $2 + interval '20 seconds' where run_id = $1",
            "update sync_state set last_complete_started_at = $2, last_complete_at = $2 + interval '20 seconds',
                fresh_until = case client_name when 'acme' then fresh_until else $2 + interval '1 day' end
             where last_complete_run_id = $1",
            "update missing_users set first_missing_at = least(first_missing_at, $2), last_missing_at = $2
             where last_run_id = $1",
            "update rejects set first_seen_at = $2, changed_at = $2 where run_id = $1",
        ] {
            sqlx::query(statement)
                .bind(run)
                .bind(at)
                .execute(database)
                .await
                .unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
    }
}

pub(crate) async fn begin(store: &Store, client: Client) -> Run {
    let id = ClientId(client.id.to_owned());
    super::world::begin(store, &id, client.name, BASE_URL).await
}

pub(crate) fn complete(observed: u64, fresh_for: Duration) -> Finish<'static> {
    Finish {
        observed,
        rejected: 0,
        missing: 0,
        unanswered: 0,
        respelled: 0,
        renewed: false,
        done_to: None,
        requests: observed,
        shortfall: None,
        error: None,
        failure: None,
        fresh_for: Some(fresh_for),
    }
}

/// Before anything happened to her.
pub(crate) fn alice() -> ManagedUser {
    user(
        101,
        ACME,
        "Alice Moreau",
        "America/New_York",
        "2024-04-01T00:00:00Z",
    )
}

pub(crate) fn present(user: &ManagedUser) -> Observation {
    Observation::Present(Arc::new(user.clone()))
}

fn unreadable(id: UserId) -> Observation {
    Observation::Unreadable(Reject {
        id,
        faults: vec![FieldFault {
            field: "timeZone".to_owned(),
            why: "is missing".to_owned(),
        }],
        record: format!(r#"{{"id":{id}}}"#),
    })
}

fn user(id: i64, client: Client, name: &str, time_zone: &str, created: &str) -> ManagedUser {
    let local = name.split(' ').next().unwrap_or(name).to_lowercase();
    ManagedUser {
        id: UserId(id),
        email: format!("{local}+{}@example.com", client.id),
        username: Some(format!("{local}-{}-example", client.id)),
        name: Some(name.to_owned()),
        bio: None,
        time_zone: time_zone.to_owned(),
        week_start: "Sunday".to_owned(),
        created_date: created.parse().expect("the time is one"),
        time_format: Some(12),
        default_schedule_id: None,
        locale: Some("en".to_owned()),
        avatar_url: None,
        metadata: None,
        extra: JsonObject::default(),
    }
}

fn object(value: serde_json::Value) -> JsonObject {
    let serde_json::Value::Object(fields) = value else {
        panic!("{value} is no object");
    };
    fields
        .into_iter()
        .map(|(key, value)| (key, Json::from(value)))
        .collect()
}
