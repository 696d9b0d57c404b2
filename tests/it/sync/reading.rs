//! Reading many users at once: whatever way they are asked for, the mirror is the same.

mod discovery;
mod equality;
mod fingerprints;
mod lessons;
mod pages;
mod resuming;
mod traps;

use std::time::Duration;

use calmirror::{
    calcom::ApiClient,
    config::{self, FetchPlan},
    model::RunOutcome,
    simulator::{Answer, EmailFilter, ListRoute, Lists, MaxLimit, RateLimit, RouteKind, Script, Target},
    store::Store,
    sync::{Pass, Report},
};
use chrono::DateTime;
use serde_json::{Value, json};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use crate::support::{
    TestDb,
    world::{World, client, source, store},
};

/// A mirror of a world's first client, asked for in one way.
pub(super) struct Mirror {
    pub(super) client: config::Client,
    source: ApiClient,
    store: Store,
    pub(super) pool: PgPool,
    _db: TestDb,
}

impl Mirror {
    pub(super) async fn new(world: &World, fetch: FetchPlan) -> Self {
        let db = TestDb::new().await;
        let info = world.simulator.clients().swap_remove(0);
        let client = config::Client {
            fetch,
            ..client(&info)
        };
        Self {
            source: source(&world.simulator.base_url(), &client),
            store: store(&db, 2),
            pool: db.pool().await,
            client,
            _db: db,
        }
    }

    pub(super) async fn pass(&self, world: &World) -> Report {
        self.pass_until(world, &CancellationToken::new()).await
    }

    /// A pass that goes on where the last one was cut, if it was.
    pub(super) async fn pass_until(&self, world: &World, cancel: &CancellationToken) -> Report {
        let base_url = world.simulator.base_url();
        let pass = Pass {
            client: &self.client,
            source: &self.source,
            resume_since: Some(DateTime::UNIX_EPOCH),
            ..world.prepare(&self.store, &base_url)
        };
        pass.run(cancel).await
    }

    /// Everything that passes say of users, but for times and for which pass said it.
    pub(super) async fn tables(&self) -> Value {
        sqlx::query_scalar(
            "select jsonb_build_object(
                'users', (
                    select jsonb_agg(to_jsonb(m) - array['first_seen_at', 'changed_at', 'removed_at']
                        || jsonb_build_object('removed', m.removed_at is not null) order by m.id)
                    from managed_users as m
                ),
                'ledger', (
                    select jsonb_agg(jsonb_build_array(c.user_id, c.version, c.kind, c.changed, c.after)
                        order by c.user_id, c.version)
                    from managed_user_changes as c
                ),
                'missing', (
                    select jsonb_agg(jsonb_build_array(m.user_id, m.confirmations, m.unproven) order by m.user_id)
                    from missing_users as m
                ),
                'rejects', (
                    select jsonb_agg(jsonb_build_array(r.user_id, r.reason, r.fields, r.record) order by r.user_id)
                    from rejects as r
                ),
                'held', (select jsonb_agg(h.user_id order by h.user_id) from held_removals as h)
            )",
        )
        .fetch_one(&self.pool)
        .await
        .expect("the tables can be read")
    }
}

/// What a report says but for requests and time.
pub(super) fn counts(report: &Report) -> Value {
    let mut counts = serde_json::to_value(report).expect("a report is JSON");
    for key in ["run_id", "requests", "duration_s", "error"] {
        counts.as_object_mut().expect("it is an object").remove(key);
    }
    counts
}

/// A world whose users are asked for in bulk, after its first pass.
async fn filled(users: usize) -> World {
    let mut world = World::new(users).await;
    world.client.fetch = FetchPlan::Get;
    world.pass().await;
    world.client.fetch = FetchPlan::Bulk;
    world
}

#[tokio::test]
async fn known_users_are_refreshed_250_at_a_time_and_nothing_is_written() {
    let world = filled(600).await;
    let before = world.tuples().await;
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::NoChange, "{:?}", report.error);
    assert_eq!((report.observed, report.unchanged), (600, 600));
    // 250 addresses may be more than a request line holds.
    assert!((3..=4).contains(&report.requests), "{} requests", report.requests);
    assert_eq!(world.tuples().await, before);
}

#[tokio::test]
async fn a_refresh_takes_hardly_more_requests_than_its_addresses_fill_and_is_never_refused() {
    const USERS: u64 = 5_000;
    let world = filled(5_000).await;
    let addresses = world
        .simulator
        .addresses(world.client_id())
        .expect("the client is there");
    // Percent-encoded, and with a comma each.
    let encoded = |email: &str| email.replace('+', "%2B").len() as u64 + 1;
    let bytes: u64 = addresses.iter().map(|(_, email)| encoded(email)).sum();
    // Scaled down, so that the pass takes more requests than a window holds.
    world.simulator.set_rate_limit(RateLimit {
        per_client: 10,
        window: Duration::from_secs(1),
        block: Duration::from_secs(1),
        ..RateLimit::default()
    });
    let report = world.pass().await;
    assert_eq!((report.outcome, report.unchanged), (RunOutcome::NoChange, USERS));
    let fewest = USERS.div_ceil(250).max(bytes.div_ceil(7_500));
    assert!(fewest >= 20, "{fewest}");
    assert!(
        report.requests * 100 <= fewest * 105,
        "{} requests, {fewest} at best",
        report.requests
    );
    let budget = world.simulator.budget(world.client_id());
    assert_eq!((budget.refused, budget.blocks), (0, 0));
}

#[tokio::test]
async fn a_change_among_many_is_found_and_written() {
    let world = filled(300).await;
    let user = world.users()[200];
    world
        .simulator
        .patch_user(user, json!({ "name": "Ada" }))
        .expect("the user can be changed");
    let report = world.pass().await;
    assert_eq!((report.outcome, report.updated), (RunOutcome::Applied, 1));
    assert_eq!(world.kinds(user).await, ["insert", "update"]);
    world.assert_quiet().await;
}

#[tokio::test]
async fn whoever_is_missing_from_an_answer_is_asked_for_by_id() {
    let world = filled(20).await;
    let [moved, gone, ..] = world.users()[..] else {
        panic!("there are users");
    };
    world
        .simulator
        .patch_user(moved, json!({ "email": "elsewhere@example.org" }))
        .expect("the user can be changed");
    world.simulator.delete_user(gone).expect("the user is there");
    let report = world.pass().await;
    assert_eq!(report.requests, 3, "one for all, and one for each of the two");
    assert_eq!((report.updated, report.missing, report.observed), (1, 1, 20));
    assert_eq!(world.pass().await.removed, 1);
    assert_eq!(world.kinds(gone).await, ["insert", "removal"]);
    assert_eq!(world.kinds(moved).await, ["insert", "update"]);
}

#[tokio::test]
async fn two_users_who_swap_their_addresses_are_told_apart_by_their_ids() {
    let world = filled(400).await;
    let (one, other) = (world.users()[0], world.users()[399]);
    let email = |user: i64| {
        let record: Value =
            serde_json::from_slice(&world.simulator.user_json(user).expect("the user is there"))
                .expect("it is JSON");
        record["email"].as_str().expect("an address").to_owned()
    };
    let swapped = [(one, email(other)), (other, email(one))];
    for (user, email) in swapped {
        let mut record: Value =
            serde_json::from_slice(&world.simulator.user_json(user).expect("the user is there"))
                .expect("it is JSON");
        record["email"] = json!(email);
        world
            .simulator
            .place_raw(world.client_id(), user, record.to_string())
            .expect("the record can be placed");
    }
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.updated),
        (RunOutcome::Applied, 2),
        "{:?}",
        report.error
    );
    for user in [one, other] {
        assert_eq!(world.kinds(user).await, ["insert", "update"]);
    }
    world.assert_quiet().await;
}

#[tokio::test]
async fn an_address_that_the_server_refuses_is_narrowed_down_and_asked_for_by_id() {
    let world = filled(100).await;
    let user = world.users()[70];
    let mut record: Value =
        serde_json::from_slice(&world.simulator.user_json(user).expect("the user is there"))
            .expect("it is JSON");
    record["email"] = json!("not an address@");
    world
        .simulator
        .place_raw(world.client_id(), user, record.to_string())
        .expect("the record can be placed");
    assert_eq!(world.pass().await.updated, 1);
    let report = world.pass().await;
    assert_eq!(report.outcome, RunOutcome::NoChange, "{:?}", report.error);
    assert_eq!(report.unchanged, 100);
    assert!(report.requests <= 20, "{} requests", report.requests);
}

#[tokio::test]
async fn other_servers_are_learned_and_the_mirror_is_the_same() {
    let served = Lists::default;
    let servers = [
        (
            "ignores addresses",
            Lists {
                emails: EmailFilter::Ignored,
                ..served()
            },
            None,
        ),
        (
            "refuses addresses",
            Lists {
                emails: EmailFilter::Refused,
                ..served()
            },
            None,
        ),
        (
            "has no list",
            Lists {
                users: ListRoute::Missing,
                ..served()
            },
            None,
        ),
        (
            "forbids its list",
            Lists {
                users: ListRoute::Forbidden,
                ..served()
            },
            None,
        ),
        (
            "refuses a high limit",
            Lists {
                max_limit: MaxLimit::Refuse(100),
                ..served()
            },
            Some(3),
        ),
        (
            "clamps the limit",
            Lists {
                max_limit: MaxLimit::Clamp(100),
                ..served()
            },
            Some(3),
        ),
        (
            "takes short addresses only",
            Lists {
                max_url_bytes: Some(2_000),
                ..served()
            },
            Some(12),
        ),
    ];
    for (what, lists, most) in servers {
        let world = filled(300).await;
        world.simulator.set_lists(lists);
        let user = world.users()[150];
        world
            .simulator
            .patch_user(user, json!({ "bio": what }))
            .expect("the user can be changed");
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.updated),
            (RunOutcome::Applied, 1),
            "{what}: {:?}",
            report.error
        );
        assert_eq!(report.observed, 300, "{what}");
        let before = world.tuples().await;
        let report = world.pass().await;
        assert_eq!(
            (report.outcome, report.unchanged),
            (RunOutcome::NoChange, 300),
            "{what}"
        );
        assert_eq!(world.tuples().await, before, "{what}");
        let most = most.unwrap_or(300);
        assert!(report.requests <= most, "{what}: {} requests", report.requests);
    }
}

#[tokio::test]
async fn auto_takes_the_way_with_the_fewest_requests() {
    let mut world = World::new(240).await;
    world.client.fetch = FetchPlan::Auto;
    let report = world.pass().await;
    assert_eq!(
        (report.inserted, report.outcome),
        (240, RunOutcome::Applied),
        "{:?}",
        report.error
    );
    assert!(
        report.requests <= 2,
        "nobody is known yet: {} requests for the list",
        report.requests
    );
    let report = world.pass().await;
    assert_eq!(report.unchanged, 240);
    assert!(report.requests <= 2, "{} requests", report.requests);
    let fetched: String = world
        .value("select fetch_plan from sync_runs order by run_id limit 1")
        .await;
    assert_eq!(fetched, "list");
}

#[tokio::test]
async fn a_list_that_always_fails_is_narrowed_down_to_requests_by_id() {
    let world = filled(4).await;
    let list = Target::Route(RouteKind::ListUsers);
    world
        .simulator
        .script(list, Script::ALWAYS, Answer::json(500, "{}"));
    let report = world.pass().await;
    assert_eq!(
        (report.outcome, report.unchanged),
        (RunOutcome::NoChange, 4),
        "{:?}",
        report.error
    );
}
