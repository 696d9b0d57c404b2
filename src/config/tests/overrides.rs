//! The environment over the file.

use super::{CLIENT, faults_with, parse_with};
use crate::config::DatabaseUrl;

#[test]
fn any_plain_key_can_be_set() {
    let text = format!("[calcom]\nconcurrency = 'at fault, and not looked at'\n{CLIENT}");
    let text = text.replace("\"main\"", "\"main.eu-1\"");
    let config = parse_with(
        &text,
        &[
            ("CALMIRROR__CALCOM__CONCURRENCY", "3"),
            ("CALMIRROR__CALCOM__BASE_URL", "https://api.cal.eu"),
            ("CALMIRROR__SCHEDULE__AT_START", "false"),
            ("CALMIRROR__REMOVAL__MAX_PERCENT", "12.5"),
            ("CALMIRROR__LOG__FORMAT", "json"),
            ("CALMIRROR__CLIENTS__MAIN_EU_1__REQUESTS_PER_MINUTE", "10"),
            ("CALMIRROR_UNRELATED", "x"),
        ],
    )
    .expect("in order")
    .config;
    assert_eq!(config.calcom.concurrency, 3);
    assert_eq!(config.calcom.base_url.as_str(), "https://api.cal.eu/");
    assert!(!config.schedule.at_start);
    assert!((config.removal.max_percent - 12.5).abs() < f64::EPSILON);
    assert_eq!(config.log.format, crate::config::LogFormat::Json);
    assert_eq!(config.clients[0].requests_per_minute, 10);
    assert_eq!(config.calcom.requests_per_minute, 450);
}

#[test]
fn the_database_is_the_most_particular_one_named() {
    let text = format!("[database]\nurl = 'postgres://file/db'\n{CLIENT}");
    let of = |pairs: &[(&str, &str)]| parse_with(&text, pairs).expect("in order").config.database.url;
    assert_eq!(of(&[]).masked(), "postgres://file/db");
    assert_eq!(of(&[("DATABASE_URL", "")]).masked(), "postgres://file/db");
    let usual = ("DATABASE_URL", "postgres://usual/db");
    assert_eq!(of(&[usual]).masked(), "postgres://usual/db");
    let own = ("CALMIRROR__DATABASE__URL", "postgres://own/db");
    assert_eq!(of(&[usual, own]).masked(), "postgres://own/db");
    assert!(matches!(
        of(&[("CALMIRROR__DATABASE__URL", "embedded")]),
        DatabaseUrl::Embedded { .. }
    ));
}

#[test]
fn faults_of_variables_name_the_variable() {
    let found = faults_with(
        CLIENT,
        &[
            ("DATABASE_URL", "mysql://ada:hunter2@db/cal"),
            ("CALMIRROR__CALCOM__CONCURENCY", "3"),
            ("CALMIRROR__CALCOM__TIMEOUT_S", "soon"),
            ("CALMIRROR__CALCOM__FETCH", ""),
            ("CALMIRROR__CALCON__FETCH", "get"),
            ("CALMIRROR__FETCH", "get"),
            ("CALMIRROR__SERVER__LISTEN", "127.0.0.1:80"),
            ("CALMIRROR__SCHEDULE__AT_START", "yes"),
            ("CALMIRROR__CLIENTS__MIAN__CRON", "* * * * *"),
            ("CALMIRROR__CLIENTS__MAIN__CORN", "* * * * *"),
            ("CALMIRROR__CLIENTS__MAIN__CRON", "* * * *"),
            ("CALMIRROR__CLIENTS__MAIN__SECRET", "hunter2"),
            ("CALMIRROR__CLIENTS__MAIN__USERS", "1,2"),
            ("CALMIRROR__CLIENTS__MAIN", "x"),
        ],
    );
    insta::assert_snapshot!(found, @r#"
    CALMIRROR__CALCOM__CONCURENCY: calcom.concurency: unknown key; did you mean CALMIRROR__CALCOM__CONCURRENCY?
    CALMIRROR__CALCOM__FETCH: calcom.fetch: is empty; unset the variable, or give it a value
    CALMIRROR__CALCOM__TIMEOUT_S: calcom.timeout_s: must be a whole number
    CALMIRROR__CALCON__FETCH: calcon: unknown section; did you mean CALMIRROR__CALCOM__FETCH?
    CALMIRROR__CLIENTS__MAIN: names no key; write CALMIRROR__SECTION__KEY, or CALMIRROR__CLIENTS__NAME__KEY for a client's key
    CALMIRROR__CLIENTS__MAIN__CORN: clients.main.corn: unknown key; did you mean CALMIRROR__CLIENTS__MAIN__CRON?
    CALMIRROR__CLIENTS__MAIN__CRON: clients.main.cron: must have five or six fields, not 4; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    CALMIRROR__CLIENTS__MAIN__SECRET: clients.secret: cannot be set by the environment; write secret = { env = "NAME" } in the file, and set that variable
    CALMIRROR__CLIENTS__MAIN__USERS: clients.users: cannot be set by the environment; set users_file instead
    CALMIRROR__CLIENTS__MIAN__CRON: clients: no client has this name; did you mean CALMIRROR__CLIENTS__MAIN__CRON?
    CALMIRROR__FETCH: names no key; write CALMIRROR__SECTION__KEY, or CALMIRROR__CLIENTS__NAME__KEY for a client's key
    CALMIRROR__SCHEDULE__AT_START: schedule.at_start: must be true or false
    DATABASE_URL: database.url: must begin with postgres:// or postgresql://; write "postgres://user:password@host:5432/database", or "embedded"; DATABASE_URL counts more than the file
    "#);
}

#[test]
fn a_broken_file_does_not_hide_faults_of_the_environment() {
    let found = faults_with(
        "[calcom]\nconcurrency = = 3\n[log\nlevel = \"nope\"\n",
        &[("CALMIRROR__SCHEDULE__TIMEZONE", "Mars/Olympus")],
    );
    insta::assert_snapshot!(found, @r#"
    config.toml:2:15: extra `=`, expected nothing
    config.toml:2:17: unexpected key or value, expected newline, `#`
    config.toml:3:5: unclosed table, expected `]`
    CALMIRROR__SCHEDULE__TIMEZONE: schedule.timezone: "Mars/Olympus" is no time zone; write an IANA name such as "Europe/Berlin", or "UTC"
    "#);
}
