//! The embedded server is killed while the daemon runs.

use calmirror::{
    embedded::{Embedded, Options},
    simulator::{RateLimit, Simulator, SimulatorConfig},
};
use nix::sys::signal::{Signal, kill};
use sqlx::PgPool;

use super::{
    server::postmaster,
    stage::{COMPLETE, EVERY_SECOND, times},
    truth::assert_true,
};
use crate::support::program::Workplace;

#[tokio::test]
async fn an_embedded_server_that_was_killed_is_started_again() {
    let simulator = Simulator::start(SimulatorConfig {
        users_per_client: 20,
        rate_limit: RateLimit::OFF,
        ..SimulatorConfig::default()
    })
    .await
    .expect("the simulator starts");
    let client = simulator.clients().swap_remove(0);
    let mut workplace = Workplace::new();
    workplace.set("SECRET", &client.secret);
    let data_dir = workplace.path().join("postgres");
    workplace.write(
        "config.toml",
        &format!(
            "[calcom]\nbase_url = \"{}\"\nfetch = \"get\"\nrequests_per_minute = 0\n\
             [database]\nurl = \"embedded\"\ndata_dir = \"{}\"\n{EVERY_SECOND}\n\
             [[clients]]\nname = \"acme\"\nid = \"{}\"\nsecret = {{ env = \"SECRET\" }}\nusers = {:?}\n",
            simulator.base_url(),
            data_dir.display(),
            client.id,
            client.users,
        ),
    );
    let mut program = workplace.start(&["run"]);
    let mut log = program.logged(COMPLETE).await;
    for turn in 1..=2 {
        simulator
            .patch_user(
                client.users[turn],
                serde_json::json!({ "timeZone": "Antarctica/Troll" }),
            )
            .expect("the user can be changed");
        kill(postmaster(&data_dir), Signal::SIGKILL).expect("it can be killed");
        log = program
            .logged_times("the embedded Postgres had ended and was started again", turn)
            .await;
        log = program.logged_times(COMPLETE, times(&log, COMPLETE) + 1).await;
    }
    // A second user of the same server, which outlives the first.
    let joined = Embedded::start(Options::durable(&data_dir))
        .await
        .expect("it can be joined");
    assert!(joined.is_joined(), "{log}");
    program.signal(Signal::SIGTERM);
    program.end().await.expect(0);
    let pool = PgPool::connect_with(joined.connect_options())
        .await
        .expect("the server takes connections");
    assert_true(&pool, &simulator, &client.users, 22).await;
    pool.close().await;
    joined.stop().await.expect("the server stops");
}
