//! Faults: all of a file at once, each with its line.

use proptest::prelude::*;

use super::{CLIENT, faults, parse};

#[test]
fn every_fault_of_a_file_is_reported() {
    let found = faults(
        r#"base_url = "https://api.cal.com"
[calcom]
base_url = "http://api.cal.com/v2/"
concurency = 4
requests_per_minute = -1
timeout_s = "30"
fetch = "bluk"
max_answer_bytes = 99999999999999999999

[databse]
url = "embedded"

[database]
url = "postgres//ada:hunter2@db/cal"
schema = "Public"
pgbouncer = "true"
data_dir = "~/pg"
cron = "* * * * *"

[schedule]
cron = "61 * * * *"
timezone = "Europe/Berln"
at_start = 1

[removal]
confirmations = 0
max_percent = 101

[log]
format = "jsno"
level = "inof"

[server]
listen = ""

[[clients]]
name = "a b"
id = "x/y"
secret = "hunter2"
users = [0, "7", -3, 1.5, 4]
users_sgl = "select 1"

[[clients]]
name = "acme"
id = "abc"
secret = { env = "SECRET" }
users = [1, 2, 3, 4, 5]
cron = "@hourly"

[[clients]]
name = "acme"
id = "abc"
secret = { env = "SECRET" }
users = [5, 4, 3, 2]
requests_per_minute = ""

[[clients]]
id = ""
users = "everyone"
organisation_id = 3
"#,
    );
    assert!(!found.contains("hunter2"), "{found}");
    insta::assert_snapshot!(found, @r#"
    config.toml:1:1: base_url: unknown section; it belongs in [calcom]
    config.toml:3:12: calcom.base_url: must end before /v2; leave out /v2 and what follows it; it is added to each request
    config.toml:4:1: calcom.concurency: unknown key; did you mean "concurrency"?
    config.toml:5:23: calcom.requests_per_minute: must be from 0 to 1000000; the default is 450
    config.toml:6:13: calcom.timeout_s: must be a whole number, not a string; remove the quotes
    config.toml:7:9: calcom.fetch: must be "auto" or "get" or "bulk" or "list", not "bluk"; did you mean "bulk"?
    config.toml:8:20: calcom.max_answer_bytes: must be from 1024 to 1073741824; the default is 8388608
    config.toml:10:2: databse: unknown section; did you mean "database"?
    config.toml:14:7: database.url: is neither a URL nor "embedded"; write "postgres://user:password@host:5432/database", or "embedded"
    config.toml:15:10: database.schema: must be lower-case letters, digits and _, not beginning with a digit
    config.toml:16:13: database.pgbouncer: must be true or false, not a string; remove the quotes
    config.toml:17:12: database.data_dir: ~ is not expanded here; write the whole path
    config.toml:18:1: database.cron: unknown key; it belongs in [schedule]
    config.toml:21:8: schedule.cron: is no cron pattern: number out of bounds; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:22:12: schedule.timezone: "Europe/Berln" is no time zone; did you mean "Europe/Berlin"?
    config.toml:23:12: schedule.at_start: must be true or false, not a whole number
    config.toml:26:17: removal.confirmations: must be from 1 to 100; the default is 2
    config.toml:27:15: removal.max_percent: must be from 0 to 100; the default is 10
    config.toml:30:10: log.format: must be "text" or "json", not "jsno"; did you mean "json"?
    config.toml:31:9: log.level: "inof" is no level; levels are off, error, warn, info, debug, trace; did you mean "info"?
    config.toml:37:8: clients.name: must be letters, digits, - _ and . (at most 63), beginning with a letter or digit
    config.toml:38:6: clients.id: must be letters, digits, - _ and . only; copy the client's id from Cal.com
    config.toml:39:10: clients.secret: must not stand in this file, which tends to be copied and committed; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:40:10: clients.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:40:13: clients.users: a user id must be a number, not a string; remove the quotes
    config.toml:40:18: clients.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:40:22: clients.users: a user id must be a whole number, not a number with a fraction
    config.toml:41:1: clients.users_sgl: unknown key; did you mean "users_sql"?
    config.toml:48:8: clients.acme.cron: must be written out; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:51:8: clients.name: "acme" is also another client's name (line 44); give each client a name of its own
    config.toml:54:9: clients.acme.id: is the same OAuth client as "acme"; join the blocks: a client has one schedule, one rate limit and one freshness
    config.toml:55:23: clients.acme.requests_per_minute: must be a whole number, not a string
    config.toml:57:1: clients.name: is missing; write name = "…", which logs and --client call it by
    config.toml:57:1: clients.secret: is missing; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:58:6: clients.id: is empty; give it a value, or remove the line
    config.toml:59:9: clients.users: must be a list of user ids or "all", not "everyone"; as in users = [1, 2]
    config.toml:60:1: clients.organisation_id: unknown key; did you mean "organization_id"?
    "#);
}

#[test]
fn the_shape_of_a_file_is_checked() {
    let found = [
        faults(""),
        faults("clients = []"),
        faults("[clients]\nname = 'a'"),
        faults("clients = ['a']"),
        faults("calcom = 3\n[[log]]\n[[clients]]"),
        faults(&CLIENT.replace("users = [1]", "")),
        faults(&CLIENT.replace("[1]", "[]")),
        faults(&CLIENT.replace("[1]", &format!("{:?}", (-12..0).collect::<Vec<_>>()))),
    ];
    insta::assert_snapshot!(found.join("\n--\n"), @r#"
    config.toml: clients: no client is configured; write [[clients]], with two brackets, and below it name, id, secret and users
    --
    config.toml:1:11: clients: no client is configured; write [[clients]], with two brackets, and below it name, id, secret and users
    --
    config.toml:1:1: clients: must be a list of blocks, not a table; write [[clients]], with two brackets, and below it name, id, secret and users
    --
    config.toml:1:12: clients: must be a block, not a string; write [[clients]], with two brackets, and below it name, id, secret and users
    --
    config.toml:1:10: calcom: must be a section, not a whole number; write [calcom] on a line of its own and its keys below it
    config.toml:2:1: log: must be a section, not a list; write [log] on a line of its own and its keys below it
    config.toml:3:1: clients.name: is missing; write name = "…", which logs and --client call it by
    config.toml:3:1: clients.id: is missing; write the OAuth client's id, as Cal.com shows it
    config.toml:3:1: clients.secret: is missing; write { env = "NAME" }, { file = "path" } or { credential = "name" }
    config.toml:3:1: clients.users: is missing; write users = [1, 2] or users = "all", or users_file = "users.txt" with one id a line
    --
    config.toml:2:1: clients.main.users: is missing; write users = [1, 2] or users = "all", or users_file = "users.txt" with one id a line
    --
    config.toml:6:9: clients.main.users: is an empty list; write users = [1, 2] or users = "all", or users_file = "users.txt" with one id a line
    --
    config.toml:6:10: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:15: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:20: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:25: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:29: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:33: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:37: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:41: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:45: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:49: clients.main.users: a user id must be a whole number from 1 to 9223372036854775807
    config.toml:6:53: clients.main.users: and 2 more from here on
    "#);
}

#[test]
fn cron_patterns_are_those_that_the_scheduler_takes() {
    let with = |cron: &str| parse(&format!("[schedule]\ncron = {cron:?}\n{CLIENT}"));
    for cron in [
        "*/5 * * * *",
        "0 */10 * * * *",
        "*/10 * * * * *",
        "0 9 * * MON-FRI",
        "0 0 29 2 *",
        "0 0 L * *",
    ] {
        with(cron).expect(cron);
    }
    let bad = [
        "* * * *",
        "* * * * * * 2030",
        "@daily",
        "x * * * *",
        "*/0 * * * *",
        "0 0 30 2 *",
        "5-1 * * * *",
    ]
    .map(|cron| with(cron).map(drop).expect_err(cron).to_string());
    insta::assert_snapshot!(bad.join("\n"), @r#"
    config.toml:2:8: schedule.cron: must have five or six fields, not 4; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:2:8: schedule.cron: must have five or six fields, not 7; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:2:8: schedule.cron: must be written out; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:2:8: schedule.cron: is no cron pattern: cronpattern contains illegal character 'x' in part 'x'; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:2:8: schedule.cron: is no cron pattern: step cannot be zero; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    config.toml:2:8: schedule.cron: never comes due; check its day and month
    config.toml:2:8: schedule.cron: is no cron pattern: range out of bounds; as in "*/5 * * * *": minute, hour, day, month, weekday; seconds may stand in front
    "#);
}

#[test]
fn time_zones_near_misses_are_named() {
    let bad = ["utc+1", "europe/berlin", "America/New_york", "local"]
        .map(|zone| faults(&format!("[schedule]\ntimezone = {zone:?}\n{CLIENT}")));
    insta::assert_snapshot!(bad.join("\n"), @r#"
    config.toml:2:12: schedule.timezone: "utc+1" is no time zone; write an IANA name such as "Europe/Berlin", or "UTC"
    config.toml:2:12: schedule.timezone: "europe/berlin" is no time zone; did you mean "Europe/Berlin"?
    config.toml:2:12: schedule.timezone: "America/New_york" is no time zone; did you mean "America/New_York"?
    config.toml:2:12: schedule.timezone: "local" is no time zone; write an IANA name such as "Europe/Berlin", or "UTC"
    "#);
}

#[test]
fn levels_are_checked_beyond_what_the_filter_checks() {
    for level in [
        "info",
        "WARN",
        "info,calmirror=debug,sqlx=off",
        "calmirror::sync[pass{client=\"a\"}]=trace",
    ] {
        parse(&format!("[log]\nlevel = {level:?}\n{CLIENT}")).expect(level);
    }
    let bad = ["verbose", "info,", "calmirror", "calmirror=loud"]
        .map(|level| faults(&format!("[log]\nlevel = {level:?}\n{CLIENT}")));
    insta::assert_snapshot!(bad.join("\n"), @r#"
    config.toml:2:9: log.level: "verbose" is no level; levels are off, error, warn, info, debug, trace; a module's level is written "verbose=debug"
    config.toml:2:9: log.level: "" is no level; levels are off, error, warn, info, debug, trace; remove the stray comma
    config.toml:2:9: log.level: "calmirror" is no level; levels are off, error, warn, info, debug, trace; a module's level is written "calmirror=debug"
    config.toml:2:9: log.level: is no filter: error parsing level filter: expected one of "off", "error", "warn", "info", "debug", "trace", or a number 0-5; as in "info" or "info,calmirror=debug"
    "#);
}

#[test]
fn database_addresses_are_checked_without_being_shown() {
    for url in [
        "postgres://ada:p%40ss@db:5432/cal?sslmode=require",
        "postgresql://db/cal",
        "postgres:///cal?host=/run/postgresql",
        "postgres://[::1]/cal",
    ] {
        parse(&format!("[database]\nurl = {url:?}\n{CLIENT}")).expect(url);
    }
    let bad = [
        "host=db user=ada password=hunter2",
        "mysql://ada:hunter2@db/cal",
        "postgres:hunter2",
        "postgres:///cal",
        "postgres://ada:hunter2/x@db/cal",
        "postgres://ada:hun#ter2@db/cal",
        "postgres://ada:hunter2@d b/cal",
        "",
    ]
    .map(|url| faults(&format!("[database]\nurl = {url:?}\n{CLIENT}")));
    assert!(!bad.join("").contains("hun"), "{bad:?}");
    insta::assert_snapshot!(bad.join("\n"), @r#"
    config.toml:2:7: database.url: is neither a URL nor "embedded"; write "postgres://user:password@host:5432/database", or "embedded"
    config.toml:2:7: database.url: must begin with postgres:// or postgresql://; write "postgres://user:password@host:5432/database", or "embedded"
    config.toml:2:7: database.url: must begin with postgres://; write "postgres://user:password@host:5432/database", or "embedded"
    config.toml:2:7: database.url: names no host; write it after the //, or a socket's directory as ?host=/run/postgresql
    config.toml:2:7: database.url: has no valid port number; a user or password with @ : / ? # or % in it must have them percent-encoded
    config.toml:2:7: database.url: has no valid port number; a user or password with @ : / ? # or % in it must have them percent-encoded
    config.toml:2:7: database.url: is no URL: invalid domain character; write "postgres://user:password@host:5432/database", or "embedded"
    config.toml:2:7: database.url: is empty; give it a value, or remove the line
    "#);
}

#[test]
fn two_blocks_of_one_client_are_refused() {
    let second = CLIENT.replace("main", "more").replace("[1]", "[2]");
    let faults = faults(&format!("{CLIENT}{second}"));
    insta::assert_snapshot!(faults, @r#"config.toml:12:9: clients.more.id: is the same OAuth client as "main"; join the blocks: a client has one schedule, one rate limit and one freshness"#);
}

/// Words that a configuration is made of, so that random text gets past the first line.
fn fragment() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "[calcom]\n",
            "[database]\n",
            "[schedule]\n",
            "[removal]\n",
            "[retention]\n",
            "[log]\n",
            "[[clients]]\n",
            "[clients]\n",
            "base_url = ",
            "url = ",
            "cron = ",
            "timezone = ",
            "level = ",
            "users = ",
            "users_file = ",
            "users_sql = ",
            "organization_id = ",
            "\"all\"",
            "secret = ",
            "name = ",
            "id = ",
            "schema = ",
            "max_percent = ",
            "\"",
            "'",
            "{ env = \"SECRET\" }",
            "[1, 2]",
            "\n",
            "= ",
            "nan",
            "-inf",
            "0x10",
            "1e400",
            "1979-05-27",
            "true",
            "\u{feff}",
            "é",
            "\"0 0 31 * *\"",
        ])
        .prop_map(str::to_owned),
        any::<String>(),
        any::<String>().prop_map(|text| format!("{text:?}\n")),
        any::<f64>().prop_map(|number| format!("{number:?}\n")),
        any::<i128>().prop_map(|number| format!("{number}\n")),
    ]
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(fragments in prop::collection::vec(fragment(), 0..40)) {
        if let Err(faults) = parse(&fragments.concat()) {
            prop_assert!(faults.iter().next().is_some());
        }
    }

    #[test]
    fn no_value_makes_a_key_panic(value in any::<String>(), key in 0..8_usize) {
        let key = ["calcom]\nbase_url", "database]\nurl", "database]\nschema", "schedule]\ncron",
            "schedule]\ntimezone", "log]\nlevel", "log]\nformat", "database]\ndata_dir"][key];
        let value = super::super::effective::quoted(&value);
        let _outcome = parse(&format!("[{key} = {value}\n{CLIENT}"));
    }

    #[test]
    fn no_cron_field_makes_it_panic(fields in prop::collection::vec("[0-9*/,LW#?A-Z-]{1,6}", 5..7)) {
        let _outcome = parse(&format!("[schedule]\ncron = \"{}\"\n{CLIENT}", fields.join(" ")));
    }
}

#[test]
fn days_of_retention_are_whole_and_within_bounds() {
    let text = format!(
        "[retention]\nno_change_runs_days = -1\nrejects_days = 36501\nledger_days = \"30\"\nledger_day = 1\n{CLIENT}"
    );
    insta::assert_snapshot!(faults(&text), @r#"
    config.toml:2:23: retention.no_change_runs_days: must be from 0 to 36500; the default is 90
    config.toml:3:16: retention.rejects_days: must be from 0 to 36500; the default is 90
    config.toml:4:15: retention.ledger_days: must be a whole number, not a string; remove the quotes
    config.toml:5:1: retention.ledger_day: unknown key; did you mean "ledger_days"?
    "#);
    let text = format!("[retention]\nledger_days = 36500\nrejects_days = 0\n{CLIENT}");
    let retention = parse(&text).expect("in order").config.retention;
    assert_eq!(
        (
            retention.no_change_runs_days,
            retention.rejects_days,
            retention.ledger_days
        ),
        (90, 0, 36_500)
    );
}
