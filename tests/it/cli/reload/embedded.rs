//! The embedded database, as another configuration has it.

use std::{fs, path::Path};

use calmirror::embedded::{Embedded, Options};
use nix::sys::signal::Signal;
use sqlx::{AssertSqlSafe, PgPool};

use super::{EVERY_SECOND, REFUSED, RELOADED, line, passes, stop};
use crate::cli::Setup;

impl Setup {
    /// Writes a configuration with the embedded database of this schema, below this directory of the workplace.
    fn configure_embedded(&self, schema: &str, data_dir: &str) {
        let data_dir = self.workplace.path().join(data_dir);
        self.configure(&format!(
            "schema = \"{schema}\"\ndata_dir = \"{}\"\n{EVERY_SECOND}",
            data_dir.display()
        ));
    }
}

/// How many live users each of these schemas has, read once the daemon has left the server.
async fn live_users(data_dir: &Path, schemas: &[&str]) -> Vec<i64> {
    let server = Embedded::start(Options::durable(data_dir))
        .await
        .expect("the server starts");
    assert!(!server.is_joined(), "somebody else still has it");
    let pool = PgPool::connect_with(server.connect_options())
        .await
        .expect("the server takes connections");
    let mut counts = Vec::new();
    for schema in schemas {
        let query = format!("select count(*) from {schema}.managed_users_live");
        let count = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&pool).await;
        counts.push(count.unwrap_or_else(|error| panic!("{schema}: {error}")));
    }
    pool.close().await;
    server.stop().await.expect("the server stops");
    counts
}

#[tokio::test]
async fn an_embedded_database_may_get_another_schema_and_another_directory() {
    const APPLIED: &str = "run.outcome=applied";
    let mut setup = Setup::new(1, 4).await;
    setup.database_url = "embedded".to_owned();
    setup.configure_embedded("first", "one");
    let mut program = setup.workplace.start(&["run"]);
    program.logged(APPLIED).await;

    setup.configure_embedded("second", "one");
    program.signal(Signal::SIGHUP);
    let log = program.logged_times(APPLIED, 2).await;
    let reloaded = line(&log, RELOADED);
    assert!(
        reloaded.contains("sections=\"database\"") && !reloaded.contains("psql"),
        "{reloaded}"
    );

    // A directory of something else is refused with its fault, and the one before goes on.
    fs::create_dir(setup.workplace.path().join("letters")).expect("the workplace takes a directory");
    setup.workplace.write("letters/letter.txt", "dear");
    setup.configure_embedded("second", "letters");
    program.signal(Signal::SIGHUP);
    let log = program.logged(REFUSED).await;
    let refused = line(&log, REFUSED);
    assert!(refused.contains("letters"), "{refused}");
    let ended = passes(&log, "acme").len();
    program.logged_times("run.outcome=no_change", ended + 1).await;

    setup.configure_embedded("third", "two");
    program.signal(Signal::SIGHUP);
    program.logged_times(APPLIED, 3).await;
    let log = program.logged_times(RELOADED, 2).await;
    let reloaded = line(&log, RELOADED);
    assert!(
        reloaded.contains("psql") && reloaded.contains("two"),
        "the line that opens a shell is another: {reloaded}"
    );
    let (one, two) = (
        setup.workplace.path().join("one"),
        setup.workplace.path().join("two"),
    );
    // Nobody needs the first server any more, so it has stopped although the daemon runs.
    assert_eq!(live_users(&one, &["first", "second"]).await, [4, 4]);
    stop(program).await;
    assert_eq!(live_users(&two, &["third"]).await, [4]);
}
