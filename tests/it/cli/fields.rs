//! The one line of a field that this version does not know.

use serde_json::{Value, json};

use super::Setup;
use crate::support::program::Ended;

fn add(setup: &Setup, client: usize, user: usize, fields: &Value) {
    let id = setup.clients[client].users[user];
    let record = setup.simulator.user_json(id).expect("the user is there");
    let mut record: Value = serde_json::from_slice(&record).expect("it is JSON");
    for (name, value) in fields.as_object().expect("an object") {
        record[name] = value.clone();
    }
    setup
        .simulator
        .place_raw(&setup.clients[client].id, id, record.to_string())
        .expect("the record can be placed");
}

/// Client, field and users of each line.
fn lines(ended: &Ended) -> Vec<(String, String, i64)> {
    let mut lines: Vec<_> = ended
        .log()
        .iter()
        .map(|line| line.get("fields").unwrap_or(line))
        .filter(|fields| {
            fields["message"] == "Cal.com sends a field that this version of calmirror does not know; it is mirrored in extra"
        })
        .map(|fields| {
            (
                fields["client.name"].as_str().unwrap_or_default().to_owned(),
                fields["field.name"].as_str().unwrap_or_default().to_owned(),
                fields["field.users"].as_i64().unwrap_or_default(),
            )
        })
        .collect();
    lines.sort();
    lines
}

#[tokio::test]
async fn a_new_field_is_one_line_for_all_its_users() {
    let setup = Setup::new(1, 700).await;
    setup.configure("[log]\nformat = \"json\"\n");
    for user in 0..700 {
        add(&setup, 0, user, &json!({ "pronouns": "values-stay-out" }));
    }
    let first = setup.run(&["sync"]).await.expect(0);
    let name = setup.clients[0].name.clone();
    // How many users a batch has is up to time; the second batch has no line.
    let [(client, field, users)] = &lines(&first)[..] else {
        panic!("one line: {:?}", lines(&first));
    };
    assert_eq!((client, field.as_str()), (&name, "pronouns"));
    assert!((1..=500).contains(users), "{users}");
    let second = setup.run(&["sync"]).await.expect(0);
    assert_eq!(lines(&second), []);

    add(&setup, 0, 3, &json!({ "badge\u{1b}[31m": 7 }));
    let third = setup.run(&["sync"]).await.expect(0);
    assert_eq!(lines(&third), [(name, "badge\\u{1b}[31m".to_owned(), 1)]);
    for ended in [&first, &second, &third] {
        assert!(!ended.to_string().contains("values-stay-out"));
    }
    let text = setup.run(&["status"]).await.expect(0).stdout;
    let (_, fields) = text
        .split_once("\nfields that this version does not know, mirrored in extra:\n")
        .unwrap_or_else(|| panic!("{text}"));
    let names: Vec<_> = fields.lines().map(|line| line.split(" (since ").next()).collect();
    assert_eq!(
        names,
        [Some("    pronouns"), Some("    badge\\u{1b}[31m")],
        "{text}"
    );
    let status = setup.run(&["--output", "json", "status"]).await.expect(0).json();
    assert_eq!(status[0]["extra_fields"][0]["field"], "pronouns");
    assert_eq!(status[0]["extra_fields"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn two_clients_at_once_announce_a_field_once_each_at_most() {
    let setup = Setup::new(2, 4).await;
    setup.configure("[log]\nformat = \"json\"\n");
    for client in 0..2 {
        for user in 0..4 {
            add(&setup, client, user, &json!({ "pronouns": "they" }));
        }
    }
    let first = setup.run(&["sync"]).await.expect(0);
    let announced = lines(&first);
    assert!((1..=2).contains(&announced.len()), "{announced:?}");
    assert!(
        announced
            .iter()
            .all(|(_, field, users)| field == "pronouns" && *users == 4)
    );
    assert_eq!(setup.value::<i64>("select count(*) from extra_fields").await, 1);
    assert_eq!(lines(&setup.run(&["sync"]).await.expect(0)), []);
}
