//! Grafana's passwords in the compose file, as an operator gives them or does not.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Output},
};

use sqlx::AssertSqlSafe;
use url::Url;
use yaml_serde::Value;

use super::{
    compose::{compose, live, mounted},
    read, shipped,
};
use crate::support::TestDb;

/// Runs what the service `reader` runs, with the variables that it is given, on a database of ours. Roles are the server's, so the
/// role is called otherwise.
fn run_reader(config: &Value, db: &TestDb, role: &str) -> Output {
    let reader = &config["services"]["reader"];
    let words = reader["entrypoint"].as_sequence().expect("it has a command");
    let words: Vec<_> = words.iter().filter_map(Value::as_str).collect();
    let script = tempfile::NamedTempFile::new().expect("the temporary directory takes another file");
    let text = read("packaging/postgres/reader.sql").replace("calmirror_reader", role);
    fs::write(script.path(), text).expect("it can be written");
    assert_eq!(
        mounted(config, "reader", "/reader.sql"),
        shipped("packaging/postgres/reader.sql")
    );
    let found = Command::new(shipped("tests/pg-bin-dir")).output();
    let found = found.expect("Postgres can be looked for").stdout;
    let programs = PathBuf::from(String::from_utf8_lossy(&found).trim());
    let mut command = Command::new(programs.join(words[0]));
    for word in &words[1..] {
        command.arg(word.replace("/reader.sql", &script.path().to_string_lossy()));
    }
    for (name, value) in reader["environment"].as_mapping().expect("it has variables") {
        let name = name.as_str().expect("a variable has a name");
        if !name.starts_with("PG") {
            command.env(name, value.as_str().unwrap_or_default());
        }
    }
    // A word of sqlx's that psql does not know.
    let mut url = Url::parse(&db.url()).expect("a test's database has an address");
    let known: Vec<_> = url
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| name != "statement-cache-capacity")
        .collect();
    url.query_pairs_mut().clear().extend_pairs(known);
    command
        .arg(format!("--dbname={url}"))
        .output()
        .expect("psql is there, as tests/pg-bin-dir says")
}

#[tokio::test]
async fn grafana_does_not_start_while_a_password_of_its_is_empty() {
    let (_dir, file) = live();
    let text = fs::read_to_string(&file).expect("it is there");
    let arguments = ["--env-file", &file, "--profile", "observability"];
    let db = TestDb::new().await;
    let [.., role] = db.roles();
    for (reader, grafana, empty) in [
        ("", "", "READER_PASSWORD and GRAFANA_PASSWORD must"),
        ("one", "", ": GRAFANA_PASSWORD must"),
        ("", "two", ": READER_PASSWORD must"),
        ("one", "two", ""),
    ] {
        let text = text
            .replace("\nREADER_PASSWORD=\n", &format!("\nREADER_PASSWORD={reader}\n"))
            .replace(
                "\nGRAFANA_PASSWORD=\n",
                &format!("\nGRAFANA_PASSWORD={grafana}\n"),
            );
        fs::write(&file, text).expect("it can be written");
        let config = compose(&arguments);
        let of_grafana = &config["services"]["grafana"];
        assert_eq!(
            of_grafana["environment"]["GF_SECURITY_ADMIN_PASSWORD"]
                .as_str()
                .unwrap_or_default(),
            grafana
        );
        assert_eq!(
            of_grafana["depends_on"]["reader"]["condition"].as_str(),
            Some("service_completed_successfully")
        );
        let ended = run_reader(&config, &db, &role);
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.success(), empty.is_empty(), "{said}");
        assert!(
            said.contains(empty) && said.contains("HINT") != empty.is_empty(),
            "{said}"
        );
        assert!(ended.stdout.is_empty(), "{ended:?}");
    }
    // The demo's are not empty.
    let config = compose(&["--profile", "observability"]);
    let demo = run_reader(&config, &db, &role);
    assert!(demo.status.success(), "{demo:?}");
    let pool = db.pool().await;
    for statement in [format!("drop owned by {role}"), format!("drop role {role}")] {
        sqlx::query(AssertSqlSafe(statement))
            .execute(&pool)
            .await
            .expect("the role can go");
    }
}
