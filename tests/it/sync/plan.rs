//! A pass that only looks: it says what the next one does, and leaves everything as it is.

mod connections;
mod turns;

use std::{collections::BTreeMap, time::Duration};

use calmirror::{
    compare::ChangeKind,
    model::{Field, RunOutcome, UserId},
    simulator::{Answer, RateLimit, Refusal, Simulator, SimulatorConfig, Target},
    store::{Settings, Store},
    sync::{Fate, Plan, Planned},
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::support::{
    TestDb,
    world::{Tuples, World},
};

/// One change of one user, planned or made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Line {
    version: i32,
    kind: String,
    changed: Value,
    /// Of an insert.
    after: Value,
}

/// What a plan said.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    changes: BTreeMap<i64, Line>,
    gone: BTreeMap<i64, Fate>,
}

impl Said {
    fn held(&self) -> Vec<i64> {
        let held = self.gone.iter().filter(|(_, fate)| **fate == Fate::Held);
        held.map(|(user, _)| *user).collect()
    }

    fn hear(&mut self, planned: Planned<'_>) {
        match planned {
            Planned::Batch(set) => {
                assert_eq!(set.removals, []);
                for change in set.changes() {
                    let after = Field::ALL
                        .into_iter()
                        .map(|field| (field.column().to_owned(), value(change.after.value(field))))
                        .collect();
                    let line = Line {
                        version: change.version,
                        kind: change.kind.to_string(),
                        changed: value(change.changed()),
                        after: if change.kind == ChangeKind::Insert {
                            without_dates(Value::Object(after))
                        } else {
                            Value::Null
                        },
                    };
                    let earlier = self.changes.insert(change.user_id().0, line);
                    assert_eq!(earlier, None, "one change a user");
                }
            }
            Planned::Gone(candidate, fate) => {
                let removal = candidate.removal;
                self.gone.insert(removal.user_id.0, fate);
                if fate == Fate::Removed {
                    let line = Line {
                        version: removal.version,
                        kind: "removal".to_owned(),
                        changed: json!({}),
                        after: Value::Null,
                    };
                    let earlier = self.changes.insert(removal.user_id.0, line);
                    assert_eq!(earlier, None, "one change a user");
                }
            }
        }
    }
}

fn value(json: impl serde::Serialize) -> Value {
    serde_json::to_value(json).expect("it is JSON")
}

/// Postgres spells times in its own way.
fn without_dates(mut after: Value) -> Value {
    let fields = after.as_object_mut().expect("the fields of a user");
    for name in ["id", "client_id", "created_date"] {
        fields.remove(name);
    }
    after
}

async fn plan(world: &World) -> (Plan, Said) {
    let mut said = Said::default();
    let plan = world.plan(&mut |planned| said.hear(planned)).await;
    (plan, said)
}

/// What stands in every table, and what was ever drawn from a sequence.
async fn everything(world: &World) -> (Tuples, String) {
    let rest = world
        .value(
            "select concat_ws(' ',
                (select count(*) || coalesce(jsonb_agg(to_jsonb(r) order by run_id)::text, '') from sync_runs as r),
                (select count(*) || coalesce(jsonb_agg(to_jsonb(s) order by client_id)::text, '') from sync_state as s),
                (select count(*) from held_sets), (select count(*) from extra_fields),
                (select string_agg(last_value || '', ',' order by sequencename) from pg_sequences))",
        )
        .await;
    (world.tuples().await, rest)
}

/// The changes that the newest pass made.
async fn made(world: &World) -> BTreeMap<i64, Line> {
    let rows: Vec<(i64, i32, String, Value, Value)> = sqlx::query_as(
        "select user_id, version, kind, changed, after from managed_user_changes
         where run_id = (select max(run_id) from sync_runs)",
    )
    .fetch_all(&world.pool)
    .await
    .expect("the ledger can be read");
    rows.into_iter()
        .map(|(user, version, kind, changed, after)| {
            let after = if kind == "insert" {
                without_dates(after)
            } else {
                Value::Null
            };
            let line = Line {
                version,
                kind,
                changed,
                after,
            };
            (user, line)
        })
        .collect()
}

#[tokio::test]
async fn a_plan_disturbs_no_pass_under_way() {
    let world = World::new(12).await;
    world.pass().await;
    let users = world.users();
    world
        .simulator
        .patch_user(users[3], json!({ "bio": "Hunts snarks." }))
        .expect("it can be changed");
    world.simulator.script(Target::User(users[11]), 1, Answer::Hang);
    let cancel = CancellationToken::new();
    let looking = async {
        world.simulator.wait_until(|counts| counts.hanging == 1).await;
        let found = plan(&world).await;
        world.simulator.release();
        found
    };
    let (report, (plan, said)) = tokio::join!(world.unchecked_pass(&world.store, &cancel), looking);
    assert_eq!(
        plan.report.outcome,
        RunOutcome::Applied,
        "{:?}",
        plan.report.error
    );
    assert_eq!(plan.report.observed, 12);
    assert_eq!(said.changes.keys().copied().collect::<Vec<_>>(), [users[3]]);
    // The one that hung is asked again.
    assert_eq!(
        (report.outcome, report.updated),
        (RunOutcome::Applied, 1),
        "{:?}",
        report.error
    );
    assert_eq!(world.value::<i64>("select count(*) from sync_runs").await, 2);
    assert_eq!(world.value::<i64>("select epoch from sync_state").await, 2);
}

#[tokio::test]
async fn a_user_is_removed_in_the_plan_only_when_the_pass_would() {
    let mut world = World::new(20).await;
    world.pass().await;
    let user = world.users()[0];
    world.simulator.delete_user(user).expect("it can go");
    world.removal.min_age = Duration::from_secs(3600);
    let (waiting, said) = plan(&world).await;
    assert_eq!(said.gone, BTreeMap::from([(user, Fate::Waits)]));
    assert_eq!(
        (waiting.report.outcome, waiting.is_pending()),
        (RunOutcome::NoChange, false)
    );
    assert_eq!((waiting.report.missing, waiting.report.unchanged), (1, 19));
    world.pass().await;
    assert_eq!(
        plan(&world).await.1.gone,
        BTreeMap::from([(user, Fate::Waits)]),
        "too young"
    );
    sqlx::query("update missing_users set first_missing_at = now() - interval '1 hour'")
        .execute(&world.pool)
        .await
        .expect("time can be moved");
    let (_, said) = plan(&world).await;
    assert_eq!(said.gone, BTreeMap::from([(user, Fate::Removed)]));
    world.removal.confirmations = 3;
    assert_eq!(
        plan(&world).await.1.gone,
        BTreeMap::from([(user, Fate::Waits)]),
        "said too seldom"
    );
    world.removal.confirmations = 2;
    world.removal.max_count = 0;
    world.removal.max_percent = 0.0;
    let (held, said) = plan(&world).await;
    assert_eq!(said.gone, BTreeMap::from([(user, Fate::Held)]));
    assert_eq!(
        (held.report.outcome, held.is_pending()),
        (RunOutcome::Held, false)
    );
    assert!(
        held.report
            .error
            .as_ref()
            .is_some_and(|error| error.contains("1 of 20")),
        "{:?}",
        held.report.error
    );
}

#[tokio::test]
async fn of_a_pass_that_would_be_stopped_no_removal_is_foreseen() {
    let mut world = World::new(40).await;
    world.pass().await;
    world.removal.confirmations = 1;
    world.removal.max_percent = 100.0;
    let users = world.users();
    for user in &users[..10] {
        world.simulator.delete_user(*user).expect("it can go");
    }
    // By the time the last one is asked for, at most seven of the others have no answer yet.
    let answer = Answer::Refuse(Refusal::WrongSecret);
    world.simulator.script(Target::User(users[39]), u32::MAX, answer);
    let (stopped, said) = plan(&world).await;
    assert_eq!(
        (stopped.report.outcome, stopped.report.removed),
        (RunOutcome::Failed, 0)
    );
    assert!(said.gone.len() >= 3, "{said:?}");
    assert!(
        said.gone.values().all(|fate| *fate == Fate::NotCounted),
        "{said:?}"
    );
    assert_eq!(world.pass().await.removed, 0);
    world.simulator.clear_scripts();
    assert_eq!(plan(&world).await.0.report.removed, 10);
}

#[tokio::test]
async fn without_tables_everything_is_an_insert() {
    let db = TestDb::new().await;
    let mut world = World::new(5).await;
    let settings = Settings {
        schema: "nowhere".to_owned(),
        max_connections: 1,
        pgbouncer: false,
    };
    world.store = Store::open(db.connect_options(), &settings);
    crate::support::world::watch(&mut world.client, |users| users.push(UserId(999_999)));
    let (plan, said) = plan(&world).await;
    assert!(plan.makes_tables && plan.is_pending());
    assert_eq!(
        (plan.report.outcome, plan.report.inserted, plan.report.missing),
        (RunOutcome::Applied, 5, 1)
    );
    assert!(
        said.changes
            .values()
            .all(|line| line.kind == "insert" && line.version == 1)
    );
    assert_eq!(said.gone, BTreeMap::new());
    let schemas: i64 = sqlx::query_scalar("select count(*) from pg_namespace where nspname = 'nowhere'")
        .fetch_one(&db.pool().await)
        .await
        .expect("the catalogue can be read");
    assert_eq!(schemas, 0);
}

#[tokio::test]
async fn older_tables_and_another_source_are_refused_with_the_remedy() {
    let mut world = World::new(3).await;
    world.pass().await;
    let elsewhere = Simulator::start(SimulatorConfig {
        users_per_client: 3,
        rate_limit: RateLimit::OFF,
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let here = std::mem::replace(&mut world.simulator, elsewhere);
    let (moved, said) = plan(&world).await;
    assert_eq!(
        (moved.report.outcome, moved.report.requests),
        (RunOutcome::Failed, 0)
    );
    let error = moved.report.error.expect("a refusal says why");
    assert!(
        error.contains(&here.base_url()) && error.contains("--accept-source"),
        "{error}"
    );
    assert_eq!(said, Said::default());
    world.simulator = here;

    sqlx::query(
        "delete from calmirror_migrations where version = (select max(version) from calmirror_migrations)",
    )
    .execute(&world.pool)
    .await
    .expect("history can be forged");
    let (older, said) = plan(&world).await;
    assert_eq!(older.report.outcome, RunOutcome::Failed);
    let error = older.report.error.expect("a refusal says why");
    assert!(error.contains("calmirror migrate"), "{error}");
    assert_eq!(said, Said::default());
    assert_eq!(world.value::<i64>("select count(*) from sync_runs").await, 1);
}
