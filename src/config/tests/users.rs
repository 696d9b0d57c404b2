//! Who is watched: everyone, a query, a file with addresses.

mod file;

use super::{CLIENT, faults, faults_with, parse, parse_with};
use crate::config::{FetchPlan, Listed, Watch};

fn watch(users: &str) -> Watch {
    let text = CLIENT.replace("users = [1]", users);
    let loaded = parse(&text).unwrap_or_else(|faults| panic!("{users}: {faults}"));
    assert_eq!(loaded.warnings, []);
    loaded.config.clients[0].watch.clone()
}

fn ids(users: &Listed) -> Vec<i64> {
    users.iter().map(|user| user.0).collect()
}

#[test]
fn users_may_be_everyone_or_whom_a_query_gives() {
    let everyone = watch("users = 'all'");
    assert!(everyone.all && everyone.listed.is_empty() && everyone.sql.is_none());
    assert_eq!(everyone.organization_id, None);
    assert_eq!(
        watch("users = 'all'\norganization_id = 7").organization_id,
        Some(7)
    );
    let query = watch("users_sql = \"select ';' as user_id;\\n\"");
    assert_eq!(query.sql.as_deref(), Some("select ';' as user_id"));
    assert!(!query.all && query.listed.is_empty());
    let both = watch("users = [3, 2]\nusers_sql = 'select 1 as user_id'");
    assert_eq!((ids(&both.listed), both.sql.is_some()), (vec![2, 3], true));
    assert!(
        watch("users = []\nusers_sql = 'select 1 as user_id'")
            .sql
            .is_some()
    );
    assert!(watch("users = 'all'\nusers_sql = 'select 1 as user_id'").all);
}

#[test]
fn each_plan_can_be_said_of_all_and_of_one() {
    for (word, plan) in [
        ("auto", FetchPlan::Auto),
        ("get", FetchPlan::Get),
        ("bulk", FetchPlan::Bulk),
        ("list", FetchPlan::List),
    ] {
        let config = parse(&format!("[calcom]\nfetch = '{word}'\n{CLIENT}")).expect(word);
        assert_eq!(config.config.clients[0].fetch, plan);
        let config = parse(&format!("[calcom]\nfetch = 'get'\n{CLIENT}fetch = '{word}'")).expect(word);
        assert_eq!(config.config.clients[0].fetch, plan);
        assert_eq!(config.config.calcom.fetch, FetchPlan::Get);
    }
}

#[test]
fn a_list_that_cannot_reach_a_clients_users_is_refused_where_it_is_said() {
    let client = |users: i64, fetch: &str| {
        let ids: Vec<_> = (1..=users).collect();
        format!("{}{fetch}", CLIENT.replace("[1]", &format!("{ids:?}")))
    };
    parse(&client(500, "fetch = 'list'")).expect("so many are listed");
    parse(&format!(
        "[calcom]\nfetch = 'list'\n{}",
        client(501, "fetch = 'bulk'")
    ))
    .expect("it is not listed");
    let found = [
        faults(&client(501, "fetch = 'list'")),
        faults(&format!("[calcom]\nfetch = 'list'\n{}", client(501, ""))),
        faults_with(&client(600, ""), &[("CALMIRROR__CALCOM__FETCH", "list")]),
    ];
    insta::assert_snapshot!(found.join("\n"), @r#"
    config.toml:7:9: clients.main.fetch: "list" cannot reach all of client "main": Cal.com lists 500 users at most, and it has 501; write "auto", "get" or "bulk"
    config.toml:2:9: calcom.fetch: "list" cannot reach all of client "main": Cal.com lists 500 users at most, and it has 501; write "auto", "get" or "bulk"
    CALMIRROR__CALCOM__FETCH: calcom.fetch: "list" cannot reach all of client "main": Cal.com lists 500 users at most, and it has 600; write "auto", "get" or "bulk"
    "#);
}

#[test]
fn what_cannot_say_who_is_watched_is_refused() {
    let found = [
        "users = 'ALL'",
        "users = true",
        "users = 'all'\norganization_id = 0",
        "users = 'all'\norganization_id = '7'",
        "users_sql = ' '",
        "users_sql = ';'",
        "users_sql = 'select 1; select 2'",
        "users_sql = 'select \"a'",
        "users_sql = ['select 1']",
    ]
    .map(|users| faults(&CLIENT.replace("users = [1]", users)));
    insta::assert_snapshot!(found.join("\n"), @r#"
    config.toml:6:9: clients.main.users: must be a list of user ids or "all", not "ALL"; as in users = [1, 2]
    config.toml:6:9: clients.main.users: must be a list of user ids or "all", not true or false; as in users = [1, 2]
    config.toml:7:19: clients.main.organization_id: must be from 1 to 9223372036854775807; copy the organisation's id from Cal.com, or remove the line
    config.toml:7:19: clients.main.organization_id: must be a whole number, not a string; remove the quotes
    config.toml:6:13: clients.main.users_sql: is empty; give it a value, or remove the line
    config.toml:6:13: clients.main.users_sql: is empty; as in users_sql = "select user_id from accounts"
    config.toml:6:13: clients.main.users_sql: must be one statement; as in users_sql = "select user_id from accounts"
    config.toml:6:13: clients.main.users_sql: has a quote that is not closed; as in users_sql = "select user_id from accounts"
    config.toml:6:13: clients.main.users_sql: must be a string, not a list
    "#);
}

#[test]
fn an_organization_without_everyone_is_warned_of() {
    let loaded = parse(&format!("{CLIENT}organization_id = 7")).expect("it is in order");
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        warnings,
        [
            "config.toml:7:19: clients.main.organization_id: has no effect without users = \"all\"; \
             write that, or remove the line"
        ]
    );
}

#[test]
fn a_query_and_an_organization_can_be_set_by_the_environment() {
    let text = CLIENT.replace("[1]", "'all'");
    let variables = [
        ("CALMIRROR__CLIENTS__MAIN__USERS_SQL", "select 5 as user_id;"),
        ("CALMIRROR__CLIENTS__MAIN__ORGANIZATION_ID", "9"),
    ];
    let config = parse_with(&text, &variables).expect("it is in order").config;
    let watch = &config.clients[0].watch;
    assert_eq!(watch.sql.as_deref(), Some("select 5 as user_id"));
    assert_eq!(watch.organization_id, Some(9));
    let variables = [
        ("CALMIRROR__CLIENTS__MAIN__USERS_SQL", "a; b"),
        ("CALMIRROR__CLIENTS__MAIN__ORGANIZATION_ID", "acme"),
    ];
    insta::assert_snapshot!(faults_with(&text, &variables), @r#"
    CALMIRROR__CLIENTS__MAIN__ORGANIZATION_ID: clients.main.organization_id: must be a whole number
    CALMIRROR__CLIENTS__MAIN__USERS_SQL: clients.main.users_sql: must be one statement; as in users_sql = "select user_id from accounts"
    "#);
}

#[test]
fn who_is_watched_is_shown_and_reads_back() {
    for users in [
        "users = 'all'\norganization_id = 7",
        "users_sql = \"\"\"select user_id -- of all\nfrom \"Accounts\" \"\"\"",
        "users = [1, 2]\nusers_sql = 'select 3 as user_id'",
    ] {
        let config = parse(&CLIENT.replace("users = [1]", users))
            .expect("it is in order")
            .config;
        let shown = config.effective_toml();
        let again = parse(&shown).expect("what is shown is in order").config;
        assert_eq!(again.effective_toml(), shown);
        let (watch, again) = (&config.clients[0].watch, &again.clients[0].watch);
        assert_eq!(
            (watch.all, ids(&watch.listed), &watch.sql, watch.organization_id),
            (again.all, ids(&again.listed), &again.sql, again.organization_id)
        );
    }
}

#[test]
fn users_of_two_clients_are_named_by_their_first_owner() {
    let client = |name: &str, users: &[i64]| {
        CLIENT
            .replace("main", name)
            .replace("abc", name)
            .replace("[1]", &format!("{users:?}"))
    };
    let text = [
        client("a", &[9, 4, 5, 6, 7]),
        client("b", &[1, 4, 4]),
        client("c", &[7, 6, 5, 4, 1]),
    ]
    .concat();
    insta::assert_snapshot!(faults(&text), @r#"
    config.toml:12:9: clients.b.users: user 4 is also listed for client "a"; a managed user belongs to one OAuth client: list each user there alone
    config.toml:18:9: clients.c.users: users 4, 5, 6 and 1 more are also listed for client "a"; a managed user belongs to one OAuth client: list each user there alone
    config.toml:18:9: clients.c.users: user 1 is also listed for client "b"; a managed user belongs to one OAuth client: list each user there alone
    "#);
}
