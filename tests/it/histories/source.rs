//! The source as a history has it: every user that ever was, and how its record is spelled.

use std::collections::BTreeMap;

use calmirror::simulator::Simulator;
use serde_json::{Map, Value, json};

use super::steps::Event;

/// Not worth more: what goes wrong with many users goes wrong with a dozen.
const MAX_USERS: usize = 12;

#[derive(Debug)]
pub(super) struct Source<'a> {
    simulator: &'a Simulator,
    client: &'a str,
    people: BTreeMap<i64, Person>,
    last_id: i64,
}

#[derive(Clone, Debug)]
struct Person {
    /// By the names on the wire.
    fields: Map<String, Value>,
    alive: bool,
    broken: Option<u8>,
    spelling: u8,
}

impl<'a> Source<'a> {
    pub(super) fn new(simulator: &'a Simulator, client: &'a str) -> Self {
        Self {
            simulator,
            client,
            people: BTreeMap::new(),
            last_id: 100_000,
        }
    }

    /// Ascending.
    pub(super) fn living(&self) -> Vec<i64> {
        self.of(|person| person.alive)
    }

    /// Also those who are gone.
    pub(super) fn everybody(&self) -> Vec<i64> {
        self.of(|_| true)
    }

    /// An id that nobody has or had.
    pub(super) fn free_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    fn of(&self, which: impl Fn(&Person) -> bool) -> Vec<i64> {
        let those = self.people.iter().filter(|(_, person)| which(person));
        those.map(|(id, _)| *id).collect()
    }

    /// Gives the user who is new, if one is.
    pub(super) fn happens(&mut self, event: Event) -> Option<i64> {
        match event {
            Event::Create => return self.create(),
            Event::Change { user, field, value } => {
                let id = pick(&self.living(), user)?;
                let email = format!("u{id}-{}+{}@example.com", value % 3, self.client);
                self.alter(id, |person| {
                    set(&mut person.fields, field, value, &email);
                });
            }
            Event::Respell { user, spelling } => {
                let id = pick(&self.living(), user)?;
                self.alter(id, |person| person.spelling = spelling);
            }
            Event::Delete(user) => {
                let id = pick(&self.living(), user)?;
                self.alter(id, |person| person.alive = false);
            }
            Event::DeleteMany(tenths) => {
                let living = self.living();
                let many = (living.len() * usize::from(tenths)).div_ceil(10);
                for id in living.into_iter().take(many) {
                    self.alter(id, |person| person.alive = false);
                }
            }
            Event::Restore(user) => {
                let id = pick(&self.of(|person| !person.alive), user)?;
                self.alter(id, |person| person.alive = true);
            }
            Event::RestoreAll => {
                for id in self.of(|person| !person.alive) {
                    self.alter(id, |person| person.alive = true);
                }
            }
            Event::Break { user, how } => {
                let id = pick(&self.living(), user)?;
                self.alter(id, |person| person.broken = Some(how));
            }
            Event::Mend(user) => {
                let id = pick(&self.of(|person| person.broken.is_some()), user)?;
                self.alter(id, |person| person.broken = None);
            }
        }
        None
    }

    /// Every record can be read again.
    pub(super) fn mend_all(&mut self) {
        for id in self.of(|person| person.broken.is_some()) {
            self.alter(id, |person| person.broken = None);
        }
    }

    fn create(&mut self) -> Option<i64> {
        if self.people.len() >= MAX_USERS {
            return None;
        }
        let id = self.free_id();
        let fields = json!({
            "id": id,
            "email": format!("u{id}+{}@example.com", self.client),
            "username": format!("u{id}"),
            "name": "Somebody",
            "bio": null,
            "timeZone": "Europe/London",
            "weekStart": "Sunday",
            "createdDate": "2025-03-01T09:00:00.000Z",
            "timeFormat": 12,
            "defaultScheduleId": id * 2,
            "locale": "en",
            "avatarUrl": null,
            "metadata": { "seats": 3 },
        });
        let Value::Object(fields) = fields else {
            unreachable!("it is written as one");
        };
        let person = Person {
            fields,
            alive: true,
            broken: None,
            spelling: 0,
        };
        self.people.insert(id, person);
        self.place(id);
        Some(id)
    }

    fn alter(&mut self, id: i64, alter: impl FnOnce(&mut Person)) {
        if let Some(person) = self.people.get_mut(&id) {
            alter(person);
        }
        self.place(id);
    }

    /// The simulator has the user as it is here.
    fn place(&self, id: i64) {
        let person = &self.people[&id];
        if person.alive {
            self.simulator
                .place_raw(self.client, id, person.record())
                .expect("nobody else has the id");
        } else {
            // It may be gone already.
            self.simulator.delete_user(id).ok();
        }
    }
}

impl Person {
    /// The record as it is sent.
    fn record(&self) -> String {
        let mut fields = self.fields.clone();
        match self.broken.map(|how| how % 5) {
            Some(0) => drop(fields.remove("timeZone")),
            Some(1) => drop(fields.insert("name".to_owned(), json!(5))),
            Some(2) => drop(fields.insert("bio".to_owned(), json!("a\0b"))),
            Some(3) => drop(fields.insert("metadata".to_owned(), json!([1]))),
            Some(_) => drop(fields.insert("createdDate".to_owned(), json!("yesterday"))),
            None => {}
        }
        if self.spelling & 1 != 0 {
            fields.retain(|_, value| !value.is_null());
        }
        spelled(&Value::Object(fields), self.spelling)
    }
}

/// Another spelling of the same value: order of keys, white space, numbers.
fn spelled(value: &Value, spelling: u8) -> String {
    match value {
        Value::Object(entries) => {
            let mut entries: Vec<String> = entries
                .iter()
                .map(|(key, value)| format!("{}:{}", json!(key), spelled(value, spelling)))
                .collect();
            if spelling & 2 != 0 {
                entries.reverse();
            }
            let between = if spelling & 4 != 0 { " ,\n" } else { "," };
            format!("{{{}}}", entries.join(between))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| spelled(item, spelling)).collect();
            format!("[{}]", items.join(","))
        }
        Value::Number(number) if !number.as_str().contains(['.', 'e', 'E']) => match spelling >> 3 & 3 {
            1 => format!("{number}.0"),
            2 => format!("{number}e0"),
            3 => format!("{number}0E-1"),
            _ => number.to_string(),
        },
        Value::String(text) if spelling & 32 != 0 && text.ends_with(".000Z") => {
            json!(text.replace(".000Z", "+00:00")).to_string()
        }
        other => other.to_string(),
    }
}

fn set(fields: &mut Map<String, Value>, field: u8, value: u8, email: &str) {
    const FIELDS: [&str; 14] = [
        "email",
        "username",
        "name",
        "bio",
        "timeZone",
        "weekStart",
        "createdDate",
        "timeFormat",
        "defaultScheduleId",
        "locale",
        "avatarUrl",
        "metadata",
        // Fields that this version does not know.
        "pronouns",
        "badges",
    ];
    let name = FIELDS[usize::from(field) % FIELDS.len()];
    let values = match name {
        "email" => json!([email]),
        "username" => json!([null, "somebody", "somebody-else"]),
        "name" => json!([null, "Somebody", "Sömebody \"Else\"", ""]),
        "bio" => json!([null, "", "Two\nlines", "😀"]),
        "timeZone" => json!(["Europe/London", "America/New_york", "Asia/Tokyo"]),
        "weekStart" => json!(["Sunday", "Monday"]),
        "createdDate" => json!([
            "2025-03-01T09:00:00.000Z",
            "2025-03-01T09:00:00.001Z",
            "1999-12-31T23:59:59.999Z"
        ]),
        "timeFormat" => json!([null, 12, 24]),
        "defaultScheduleId" => json!([null, 7, 8_000_000_000_i64]),
        "locale" => json!([null, "en", "pt-BR"]),
        "avatarUrl" => json!([null, "https://example.com/a.png"]),
        "metadata" => json!([null, {}, { "seats": 4 }, { "a": { "b": [1, null, "ü"] }, "seats": 3 }]),
        "pronouns" => json!([null, "she", "they"]),
        _ => json!([null, ["first"], [{ "rank": 1 }], false]),
    };
    let Value::Array(mut values) = values else {
        unreachable!("they are written as arrays");
    };
    let index = usize::from(value) % values.len();
    fields.insert(name.to_owned(), values.swap_remove(index));
}

/// One of those there are.
pub(super) fn pick(ids: &[i64], number: u8) -> Option<i64> {
    let index = usize::from(number).checked_rem(ids.len())?;
    ids.get(index).copied()
}
