//! Prometheus's rules and Grafana's dashboard, held against the metrics that there are and against the mirror.

use std::{collections::BTreeSet, fmt::Write as _, fs, process::Command};

use calmirror::measured::METRICS;
use serde_json::Value;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use super::{read, yaml};
use crate::{docs::anchors, support::TestDb};

/// The metrics that are exported, as a test of `/metrics` finds them.
fn exported() -> impl Iterator<Item = &'static str> {
    METRICS.into_iter().map(|(name, _)| name)
}

/// Words that look like names of metrics.
fn named(expression: &str) -> BTreeSet<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    expression
        .split(|c: char| !is_part(c))
        .filter(|word| word.contains("calmirror_") || word.starts_with("process_"))
        .collect()
}

/// As a recording rule of ours is called, or as it is exported.
fn is_known(name: &str, recorded: &BTreeSet<String>) -> bool {
    let exported = name.strip_suffix("_bucket").unwrap_or(name);
    let is_exported = self::exported().any(|name| name == exported);
    let is_histogram = exported.ends_with("_duration_seconds");
    recorded.contains(name) || (is_exported && is_histogram == name.ends_with("_bucket"))
}

struct Alert {
    name: String,
    expression: String,
    runbook: String,
}

fn rules() -> (BTreeSet<String>, Vec<Alert>) {
    let file = yaml("packaging/prometheus/alerts.yml");
    let mut recorded = BTreeSet::new();
    let mut alerts = Vec::new();
    for group in file["groups"].as_sequence().expect("there are groups") {
        for rule in group["rules"].as_sequence().expect("there are rules") {
            let text = |value: &yaml_serde::Value| value.as_str().unwrap_or_default().to_owned();
            if let Some(record) = rule.get("record") {
                recorded.insert(text(record));
            } else {
                alerts.push(Alert {
                    name: text(&rule["alert"]),
                    expression: text(&rule["expr"]),
                    runbook: text(&rule["annotations"]["runbook"]),
                });
                for annotation in ["summary", "description"] {
                    assert!(rule["annotations"][annotation].is_string(), "{rule:?}");
                }
                let severity = text(&rule["labels"]["severity"]);
                assert!(["critical", "warning", "info"].contains(&severity.as_str()));
            }
        }
    }
    (recorded, alerts)
}

fn dashboard() -> Value {
    serde_json::from_str(&read("packaging/grafana/dashboards/calmirror.json")).expect("it is JSON")
}

/// What each panel asks, with the panel's title.
fn asked<'a>(dashboard: &'a Value, key: &str) -> Vec<(&'a str, &'a str)> {
    let panels = dashboard["panels"].as_array().expect("there are panels");
    panels
        .iter()
        .flat_map(|panel| {
            let targets = panel["targets"].as_array().into_iter().flatten();
            targets.map(move |target| (panel, target))
        })
        .filter_map(|(panel, target)| Some((panel["title"].as_str()?, target.get(key)?.as_str()?)))
        .collect()
}

#[test]
fn rules_and_dashboard_name_only_metrics_that_are_exported() {
    let (recorded, alerts) = rules();
    let text = read("packaging/prometheus/alerts.yml");
    for name in named(&text) {
        assert!(is_known(name, &recorded), "no metric {name}");
        // What of the process can be read is up to how it is confined.
        assert!(!name.starts_with("process_"), "a rule rests on {name}");
    }
    assert!(alerts.len() >= 12, "only {} alerts", alerts.len());
    for alert in &alerts {
        let is_about_us = !named(&alert.expression).is_empty() || alert.expression.contains("up{");
        assert!(is_about_us, "{} is about nothing of ours", alert.name);
    }
    let dashboard = dashboard();
    let text = dashboard.to_string();
    for name in named(&text) {
        assert!(is_known(name, &recorded), "no metric {name}");
    }
    // What nobody shows is not worth exporting.
    for metric in exported() {
        assert!(text.contains(metric), "the dashboard does not show {metric}");
    }
}

#[test]
fn every_metric_is_in_the_table_of_metrics() {
    let document = read("docs/operations.md");
    let start = document
        .find("\n## Metrics\n")
        .expect("there is a section on metrics");
    let told: BTreeSet<_> = document[start..]
        .lines()
        .skip_while(|line| !line.starts_with('|'))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .filter_map(|line| line.split('`').nth(1))
        .collect();
    assert_eq!(told, exported().collect::<BTreeSet<_>>());
}

#[test]
fn every_alert_says_what_to_do_and_has_a_test() {
    let document = read("docs/operations.md");
    let anchors = anchors(&document);
    let tests = read("packaging/prometheus/alerts_test.yml");
    let (_, alerts) = rules();
    for alert in &alerts {
        let (file, anchor) = alert.runbook.split_once('#').expect("a section of a document");
        assert_eq!(file, "docs/operations.md", "{}", alert.name);
        assert!(anchors.contains(anchor), "no section for {}", alert.name);
        assert_eq!(anchor, alert.name.to_lowercase());
        // One that fires, and one that does not.
        let cases: Vec<_> = tests
            .split(&format!("alertname: {}\n", alert.name))
            .skip(1)
            .map(|case| case.lines().nth(1).unwrap_or_default().trim())
            .collect();
        assert!(cases.contains(&"exp_alerts:"), "{} never fires", alert.name);
        assert!(cases.contains(&"exp_alerts: []"), "{} always fires", alert.name);
    }
    let told = document.lines().filter(|line| line.starts_with("### Calmirror"));
    assert_eq!(told.count(), alerts.len(), "a section is of no alert");
}

/// Its own parser decides. The tests of the rules are run by packaging/check.
#[test]
fn prometheus_understands_what_the_dashboard_asks() {
    let dashboard = dashboard();
    let mut file = String::from("groups:\n  - name: dashboard\n    rules:\n");
    let expressions = asked(&dashboard, "expr");
    assert!(expressions.len() >= 30, "only {}", expressions.len());
    for (number, (_, expression)) in expressions.iter().enumerate() {
        let expression = expression
            .replace("$__rate_interval", "5m")
            .replace("$client", "acme|globex");
        let expression = serde_json::to_string(&expression).expect("a string is JSON, and so YAML");
        writeln!(
            file,
            "      - record: panel:calmirror:{number}\n        expr: {expression}"
        )
        .expect("a string takes it");
    }
    assert!(!file.contains('$'), "a variable is left: {file}");
    let dir = tempfile::tempdir().expect("the temporary directory takes another one");
    let path = dir.path().join("dashboard.yml");
    fs::write(&path, &file).expect("the directory takes a file");
    let ended = Command::new("promtool")
        .args(["check", "rules"])
        .arg(&path)
        .output()
        .expect("promtool can be run: `tests/setup` installs it");
    assert!(
        ended.status.success(),
        "{}\n{file}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

#[test]
fn the_dashboard_asks_the_data_sources_that_are_provisioned() {
    let sources = yaml("packaging/grafana/provisioning/datasources/calmirror.yml");
    let sources: BTreeSet<(&str, &str)> = sources["datasources"]
        .as_sequence()
        .expect("there are data sources")
        .iter()
        .filter_map(|source| Some((source["uid"].as_str()?, source["type"].as_str()?)))
        .collect();
    assert_eq!(sources.len(), 2);
    let dashboard = dashboard();
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().expect("there are panels") {
        assert!(ids.insert(panel["id"].as_u64()), "two panels have one id");
        for target in panel["targets"].as_array().into_iter().flatten() {
            let of = &target["datasource"];
            let source = (
                of["uid"].as_str().unwrap_or_default(),
                of["type"].as_str().unwrap_or_default(),
            );
            assert!(sources.contains(&source), "{}: {source:?}", panel["title"]);
            assert_eq!(source.0 == "calmirror-postgres", target.get("rawSql").is_some());
        }
    }
}

async fn run(connection: &mut PgConnection, statement: &str) -> Result<Vec<sqlx::postgres::PgRow>, String> {
    sqlx::query(AssertSqlSafe(statement.to_owned()))
        .fetch_all(connection)
        .await
        .map_err(|error| error.to_string())
}

async fn must(connection: &mut PgConnection, statement: &str) -> usize {
    let rows = run(connection, statement).await;
    rows.unwrap_or_else(|error| panic!("{statement}: {error}")).len()
}

/// Two users of a client that has passed: a change of one, and what is left of the other's past.
const A_CHANGE: &str = r#"
insert into sync_state (client_id, client_name, epoch, base_url, last_run_id, last_complete_at, last_complete_started_at, fresh_until)
values ('clx0acme', 'acme', 1, 'https://api.cal.com', 2, now(), now(), now() + interval '1 hour');
insert into managed_users (id, client_id, email, time_zone, week_start, created_date, version, first_seen_at, changed_at)
values (1, 'clx0acme', 'ada+clx0acme@example.com', 'Europe/Rome', 'Monday', now(), 2, now(), now());
insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after)
values (1, 1, 'clx0acme', 1, 'insert', now(), '{}', '{}'),
    (2, 1, 'clx0acme', 2, 'update', now(), '{"time_zone": {"old": "UTC", "new": "Europe/Rome"}, "bio": {"old": null, "new": "x"}}', '{}');
insert into managed_user_changes (run_id, user_id, client_id, version, kind, observed_at, changed, after, folded_at, first_seen_at)
values (2, 2, 'clx0acme', 7, 'insert', now(), '{}', '{}', now(), now());
"#;

/// As whom Grafana asks: a role with what packaging/postgres/reader.sql gives, and no more.
#[tokio::test]
async fn the_dashboards_queries_run_as_a_role_that_can_only_read() {
    let db = TestDb::new().await;
    let mut connection = PgConnection::connect_with(&db.connect_options())
        .await
        .expect("the test's database takes connections");
    // Roles are the server's, which others use at the same time.
    let name: String = sqlx::query_scalar("select current_database()::text || '_reader'")
        .fetch_one(&mut connection)
        .await
        .expect("the database has a name");
    let script = read("packaging/postgres/reader.sql");
    assert!(script.contains("\\getenv password READER_PASSWORD\n"));
    // What psql does before the server sees it.
    let script: String = script
        .lines()
        .filter(|line| !line.starts_with('\\'))
        .fold(String::new(), |text, line| text + line + "\n")
        .replace(":'password'", "'a password'")
        .replace(":'grafana'", "'another'")
        .replace("calmirror_reader", &name);
    for statements in [A_CHANGE, &script, &script] {
        sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await
            .unwrap_or_else(|error| panic!("{statements}: {error}"));
    }
    let dashboard = dashboard();
    let queries = asked(&dashboard, "rawSql");
    assert_eq!(queries.len(), 3);
    must(&mut connection, &format!("set role {name}")).await;
    for (title, query) in &queries {
        let query = query
            .replace(
                "$__timeFilter(change.observed_at)",
                "change.observed_at between now() - interval '1 day' and now()",
            )
            .replace("${client:sqlstring}", "'acme','globex'");
        assert!(!query.contains('$'), "{title}: a macro is left: {query}");
        let rows = must(&mut connection, &query).await;
        assert!(rows > 0, "{title} shows nothing");
        if *title == "Changes a day" {
            let inserts = format!("select from ({query}) as q where metric = 'insert' and changes = 1");
            assert_eq!(
                must(&mut connection, &inserts).await,
                1,
                "one is of a past that was folded"
            );
        }
        let other = query.replace("'acme',", "");
        assert_eq!(
            must(&mut connection, &other).await,
            0,
            "{title} shows other clients"
        );
    }
    let (_, latest) = queries
        .iter()
        .find(|(title, _)| *title == "Latest changes")
        .expect("there is a panel of the latest changes");
    for personal in ["email", "after", "-> 'old'", "-> 'new'"] {
        assert!(!latest.contains(personal), "{latest}");
    }
    for forbidden in [
        "delete from managed_user_changes",
        "update managed_users set bio = 'x'",
        "truncate managed_users",
        "create table mine ()",
        "select record from rejects",
    ] {
        let refused = run(&mut connection, forbidden).await;
        assert!(
            refused
                .as_ref()
                .is_err_and(|why| why.contains("permission denied")),
            "{forbidden}: {refused:?}"
        );
    }
    must(&mut connection, "reset role").await;
    must(&mut connection, &format!("drop owned by {name}")).await;
    must(&mut connection, &format!("drop role {name}")).await;
    connection.close().await.expect("the connection closes");
}
