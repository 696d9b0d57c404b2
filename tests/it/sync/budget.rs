//! The rate limit, as the simulator keeps it: with windows of a second, or with a clock that stands still.

use std::{sync::Arc, time::Duration};

use calmirror::{
    calcom::Source,
    clock::ManualClock,
    model::{ClientId, RateState, RunOutcome, UserId},
    simulator::{RateLimit, Simulator, SimulatorConfig},
    sync::Pass,
};
use nix::sys::signal::Signal;
use tokio_util::sync::CancellationToken;
use tracing::Level;

use crate::support::{
    TestDb, http,
    program::Workplace,
    told::Told,
    world::{LIMIT, World, api, client, source, store},
};

/// As many requests in as long, and a second's block.
fn every_second(per_client: u32) -> RateLimit {
    RateLimit {
        per_client,
        window: Duration::from_secs(1),
        block: Duration::from_secs(1),
        ..RateLimit::default()
    }
}

fn config(users: usize, rate_limit: RateLimit) -> SimulatorConfig {
    SimulatorConfig {
        users_per_client: users,
        rate_limit,
        ..SimulatorConfig::default()
    }
}

async fn world(config: SimulatorConfig) -> World {
    let simulator = Simulator::start(config).await.expect("the simulator starts");
    World::with(simulator, TestDb::new().await).await
}

/// A window that is never over, and so many users.
async fn still_world(users: usize) -> World {
    world(SimulatorConfig {
        clock: Arc::new(ManualClock::at(chrono::DateTime::UNIX_EPOCH)),
        ..config(
            users,
            RateLimit {
                per_client: 40,
                ..RateLimit::default()
            },
        )
    })
    .await
}

/// Another process: what the first knew of the limit is gone.
fn begin_anew(world: &mut World) {
    world.source = source(&world.simulator.base_url(), &world.client);
}

/// Somebody else's request with the same client's credentials.
async fn stranger(world: &World) -> u16 {
    let info = world.simulator.clients().swap_remove(0);
    let path = format!("/v2/oauth-clients/{}/users/{}", info.id, info.users[0]);
    let headers = [
        ("x-cal-client-id", &*info.id),
        ("x-cal-secret-key", &*info.secret),
    ];
    http::request(world.simulator.address(), "GET", &path, &headers, "")
        .await
        .status
}

/// Makes a pass until a condition holds, and stops it there.
async fn pass_until(world: &World, condition: impl Future<Output = ()>) -> RunOutcome {
    let cancel = CancellationToken::new();
    let (report, ()) = tokio::join!(world.pass_until(&cancel), async {
        condition.await;
        cancel.cancel();
    });
    report.outcome
}

#[tokio::test]
async fn a_pass_over_more_users_than_a_window_holds_is_never_blocked() {
    // Headers alone; a rate below the limit; one that is no use.
    for requests_per_minute in [0, 1800, 100_000] {
        let mut world = world(config(100, every_second(40))).await;
        world.client.requests_per_minute = requests_per_minute;
        begin_anew(&mut world);
        let report = world.pass().await;
        assert_eq!(report.outcome, RunOutcome::Applied, "{:?}", report.error);
        let counts = world.simulator.requests();
        assert_eq!(
            (counts.total, counts.throttled),
            (100, 0),
            "{requests_per_minute}"
        );
    }
}

#[tokio::test]
async fn a_client_whose_window_is_used_up_does_not_hold_up_another() {
    let config = SimulatorConfig {
        clients: 2,
        ..config(
            60,
            RateLimit {
                per_client: 100,
                ..RateLimit::default()
            },
        )
    };
    let mut world = world(config).await;
    for _ in 0..90 {
        assert_eq!(stranger(&world).await, 200);
    }
    let other = client(&world.simulator.clients()[1]);
    let (others_store, others_source) = (store(&world.db, 2), source(&world.simulator.base_url(), &other));
    world.store = store(&world.db, 2);
    let base_url = world.simulator.base_url();
    let pass = Pass {
        source: &others_source,
        client: &other,
        ..world.prepare(&others_store, &base_url)
    };
    let cancel = CancellationToken::new();
    let (first, second) = tokio::join!(world.unchecked_pass(&world.store, &cancel), async {
        // The first waits for a minute to be over.
        world.simulator.wait_until(|counts| counts.total >= 98).await;
        let second = pass.run(&CancellationToken::new()).await;
        cancel.cancel();
        second
    });
    assert_eq!(second.outcome, RunOutcome::Applied, "{:?}", second.error);
    assert_eq!(first.outcome, RunOutcome::Partial, "{:?}", first.error);
    let counts = world.simulator.requests();
    assert_eq!(
        (counts.total, counts.throttled),
        (98 + 60, 0),
        "two are the reserve"
    );
}

#[tokio::test]
async fn a_stranger_who_takes_half_of_the_limit_is_felt_before_a_429() {
    let world = world(config(150, every_second(100))).await;
    let (store, base_url, cancel) = (&world.store, world.simulator.base_url(), CancellationToken::new());
    let pass = Pass {
        concurrency: 1,
        ..world.prepare(store, &base_url)
    };
    let ours = pass.run(&cancel);
    let strangers = async {
        let mut seen = 0;
        loop {
            seen = world
                .simulator
                .wait_until(|counts| counts.total > seen)
                .await
                .total
                + 1;
            stranger(&world).await;
        }
    };
    let report = tokio::select! {
        report = ours => report,
        () = strangers => unreachable!("it does not end"),
    };
    assert_eq!(report.outcome, RunOutcome::Applied, "{:?}", report.error);
    let counts = world.simulator.requests();
    assert!(counts.total >= 250, "{counts:?}");
    assert_eq!(counts.throttled, 0, "{counts:?}");
}

#[tokio::test]
async fn a_new_process_goes_on_within_what_is_left_of_the_window() {
    let mut world = still_world(36).await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Applied);
    let noted: i64 = world.value("select remaining from rate_limits").await;
    assert_eq!(noted, 4, "there is nothing ahead at the end of a pass");
    begin_anew(&mut world);
    // More would go at once than are left.
    let used_up = async {
        world.simulator.wait_for_requests(40).await;
    };
    assert_eq!(pass_until(&world, used_up).await, RunOutcome::Partial);
    let counts = world.simulator.requests();
    assert_eq!((counts.total, counts.throttled), (40, 0));
}

#[tokio::test]
async fn a_plan_keeps_to_what_is_left_and_notes_nothing() {
    let mut world = still_world(30).await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Applied);
    crate::support::world::watch(&mut world.client, |users| users.truncate(10));
    begin_anew(&mut world);
    let tuple = "select ctid::text || xmin::text from rate_limits";
    let before: String = world.value(tuple).await;
    world.plan(&mut |_| ()).await;
    assert_eq!(world.source.rate_state().remaining, Some(0));
    assert_eq!(world.value::<String>(tuple).await, before);
    assert_eq!(world.simulator.requests().throttled, 0);
}

#[tokio::test]
async fn a_new_process_asks_nothing_until_a_block_is_over() {
    let limit = RateLimit {
        block: Duration::from_secs(3),
        ..every_second(10)
    };
    let mut world = world(config(8, limit)).await;
    world.store = store(&world.db, 2);
    while stranger(&world).await != 429 {}
    let is_noted = async {
        let wait = async {
            let query = "select exists (select from rate_limits where blocked_until > now())";
            while !world.value::<bool>(query).await {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, wait)
            .await
            .expect("the block is noted at once");
    };
    assert_eq!(pass_until(&world, is_noted).await, RunOutcome::Partial);
    let refused = world.simulator.requests().throttled;
    assert!(refused > 1, "the stranger and we");
    begin_anew(&mut world);
    let report = world.pass().await;
    assert_eq!(report.observed, 8, "{:?}", report.error);
    assert_eq!(world.simulator.requests().throttled, refused);
}

#[tokio::test]
async fn a_server_that_tells_of_no_limit_leaves_no_note() {
    let world = World::new(20).await;
    assert_eq!(world.pass().await.outcome, RunOutcome::Applied);
    assert_eq!(world.value::<i64>("select count(*) from rate_limits").await, 0);
}

#[tokio::test]
async fn a_pass_without_its_notes_is_made_all_the_same() {
    let limit = [
        "the state of the rate limit could not be read",
        "the state of the rate limit could not be noted",
    ];
    for (spoil, said) in [
        ("drop table rate_limits", &limit[..]),
        (
            "alter table sync_runs rename planned_users to something_else",
            &["what the pass is about to do could not be noted"],
        ),
    ] {
        let world = world(config(20, every_second(40))).await;
        sqlx::query(spoil)
            .execute(&world.pool)
            .await
            .expect("a database can be spoilt");
        let (told, _guard) = Told::listen(Level::WARN);
        let report = world.pass().await;
        assert_eq!((report.observed, &report.error), (20, &None), "{spoil}");
        // Somebody has to see to it.
        let told = told.lines("something of the mirror is missing");
        assert_eq!(told.len(), said.len(), "{spoil}: {told:?}");
        for (line, said) in told.iter().zip(said) {
            assert!(line.contains(said), "{spoil}: {line}");
        }
    }
}

/// What the killed process might have asked is not asked again.
#[tokio::test]
async fn a_program_that_is_killed_within_a_window_and_restarted_is_never_blocked() {
    let world = still_world(60).await;
    let mut workplace = Workplace::new();
    let info = world.simulator.clients().swap_remove(0);
    workplace.set("SECRET", &info.secret);
    let (base_url, url, id) = (world.simulator.base_url(), world.db.url(), &info.id);
    let users = &info.users;
    workplace.write(
        "config.toml",
        &format!(
            "[calcom]\nbase_url = \"{base_url}\"\nfetch = \"get\"\nrequests_per_minute = 0\n[database]\nurl = \"{url}\"\n\
             [log]\nformat = \"json\"\n\
             [[clients]]\nname = \"acme\"\nid = \"{id}\"\nsecret = {{ env = \"SECRET\" }}\nusers = {users:?}\n"
        ),
    );
    world.store.migrate().await.expect("tables can be made");
    let mut killed = workplace.start(&["sync"]);
    killed.logged("the rate limit's window is used up").await;
    let is_noted = async {
        while world.value::<i64>("select count(*) from rate_limits").await == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, is_noted)
        .await
        .expect("the first window is noted");
    killed.signal(Signal::SIGKILL);
    killed.end().await;
    let mut restarted = workplace.start(&["sync"]);
    restarted.logged("the rate limit's window is used up").await;
    restarted.signal(Signal::SIGTERM);
    restarted.end().await.expect(4);
    let counts = world.simulator.requests();
    assert_eq!((counts.total, counts.throttled), (40, 0));
}

#[tokio::test]
async fn what_is_noted_of_a_limit_is_read_until_it_is_past() {
    let world = World::new(1).await;
    let acme = ClientId("acme".to_owned());
    assert_eq!(world.store.rate_limit(&acme).await, Ok(None));
    let seconds = |seconds| Some(Duration::from_secs(seconds));
    let note = async |remaining, resets_in, blocked_for, ahead| {
        let state = RateState {
            remaining,
            resets_in,
            blocked_for,
        };
        let noted = world.store.note_rate_limit(&acme, &state, ahead).await;
        noted.expect("it can be noted");
        let read = world.store.rate_limit(&acme).await.expect("it can be read");
        read.unwrap_or_default()
    };
    let state = note(Some(300), seconds(3000), None, 120).await;
    assert_eq!((state.remaining, state.blocked_for), (Some(180), None));
    assert!(
        state
            .resets_in
            .is_some_and(|left| left <= Duration::from_secs(3000))
    );
    let state = note(Some(100), seconds(3000), seconds(3000), 120).await;
    assert_eq!(state.remaining, Some(0));
    assert!(state.blocked_for.is_some());
    let state = note(Some(100), Some(Duration::ZERO), seconds(1), u64::MAX).await;
    assert_eq!(
        (state.remaining, state.resets_in),
        (None, None),
        "that window is over"
    );
    let longest = state.blocked_for.expect("a block gets no shorter");
    assert!(longest > Duration::from_secs(60));
    let others = ClientId("globex".to_owned());
    assert_eq!(world.store.rate_limit(&others).await, Ok(None));
}

#[tokio::test]
async fn another_configuration_goes_on_within_what_is_left_of_the_window() {
    let world = still_world(40).await;
    for user in world.client.watch.listed.iter().take(30) {
        world.source.get_user(user).await.expect("the simulator answers");
    }
    let left = world.source.rate_state().remaining;
    assert!(left.is_some_and(|left| left <= 10), "{left:?}");
    let mut client = world.client.clone();
    client.requests_per_minute = 6000;
    let after = api(&world.simulator.base_url()).client_after(&client, &world.source);
    assert_eq!(after.rate_state().remaining, left);
    after
        .get_user(UserId(world.users()[30]))
        .await
        .expect("the simulator answers");
    assert_eq!(
        world.source.rate_state().remaining,
        after.rate_state().remaining,
        "they share it"
    );
    assert!(after.rate_state().remaining < left);

    let elsewhere = api("http://127.0.0.1:1").client_after(&client, &world.source);
    assert!(
        elsewhere.rate_state().is_unknown(),
        "nothing is known of another server"
    );
    client.id = ClientId("another".to_owned());
    let other = api(&world.simulator.base_url()).client_after(&client, &world.source);
    assert!(other.rate_state().is_unknown(), "nor of another client");
}
