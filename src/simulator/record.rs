//! Managed users as the simulator keeps them: rendered once, served as bytes.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher},
    sync::Arc,
};

use axum::{body::Bytes, http::HeaderValue};
use serde::Serialize;
use serde_json::{
    Map, Value,
    value::{RawValue, to_raw_value},
};

/// A managed user, in the order of fields and the spelling of Cal.com's answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct User {
    pub id: i64,
    /// As it is sent, with the `+<clientId>` suffix.
    pub email: String,
    pub username: Option<String>,
    pub name: Option<String>,
    pub bio: Option<String>,
    pub time_zone: String,
    pub week_start: String,
    /// As it is sent: RFC 3339 with milliseconds and `Z`.
    pub created_date: String,
    pub time_format: Option<i32>,
    pub default_schedule_id: Option<i64>,
    pub locale: Option<String>,
    pub avatar_url: Option<String>,
    /// An object; the key is absent when this is `None`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Value>,
}

impl User {
    /// The example that Cal.com's documentation publishes, as a user of this client.
    pub fn alice(client_id: &str) -> Self {
        Self {
            id: 1,
            email: format!("alice+{client_id}@example.com"),
            username: Some("alice".to_owned()),
            name: Some("alice".to_owned()),
            bio: Some("bio".to_owned()),
            time_zone: "America/New_York".to_owned(),
            week_start: "Sunday".to_owned(),
            created_date: "2024-04-01T00:00:00.000Z".to_owned(),
            time_format: Some(12),
            default_schedule_id: None,
            locale: Some("en".to_owned()),
            avatar_url: Some(
                "https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png".to_owned(),
            ),
            metadata: Some(serde_json::json!({ "key": "value" })),
        }
    }
}

/// A user's JSON within the whole answer to a GET of it, so that such a GET copies nothing.
#[derive(Debug)]
pub(super) struct Record {
    id: i64,
    /// Of the answer.
    hash: u64,
    answer: Bytes,
    /// `None` for a raw record that no address can find.
    email: Option<Box<str>>,
}

const HEAD: &[u8] = br#"{"status":"success","data":"#;
const TAIL: &[u8] = b"}";

impl Record {
    pub(super) fn of(user: &User) -> Self {
        let json = serde_json::to_vec(user).expect("a user's keys are strings");
        Self::new(user.id, &json, Some(user.email.as_str().into()))
    }

    /// Any bytes at all; where they are an object with an `email`, that address finds them.
    pub(super) fn raw(id: i64, json: &[u8]) -> Self {
        let email = serde_json::from_slice::<BTreeMap<String, &RawValue>>(json)
            .ok()
            .and_then(|fields| serde_json::from_str::<String>(fields.get("email")?.get()).ok());
        Self::new(id, json, email.map(String::into_boxed_str))
    }

    fn new(id: i64, json: &[u8], email: Option<Box<str>>) -> Self {
        let answer = Bytes::from([HEAD, json, TAIL].concat());
        let mut hasher = DefaultHasher::new();
        hasher.write(&answer);
        Self {
            id,
            hash: hasher.finish(),
            answer,
            email,
        }
    }

    /// Whose record it is, whatever it says itself.
    pub(super) fn id(&self) -> i64 {
        self.id
    }

    pub(super) fn answer(&self) -> Bytes {
        self.answer.clone()
    }

    pub(super) fn etag(&self) -> HeaderValue {
        tag(self.answer.len(), self.hash)
    }

    pub(super) fn email(&self) -> Option<&str> {
        self.email.as_deref()
    }

    /// The user alone.
    pub(super) fn json(&self) -> &[u8] {
        &self.answer[HEAD.len()..self.answer.len() - TAIL.len()]
    }

    /// The record with these fields replaced and every other one left as it is spelled.
    ///
    /// `None` where the record is not an object.
    pub(super) fn patched(&self, changes: &Map<String, Value>) -> Option<Self> {
        let mut fields: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(self.json()).ok()?;
        for (key, value) in changes {
            if key == "metadata" && value.is_null() {
                fields.remove(key);
            } else {
                fields.insert(key.clone(), to_raw_value(value).ok()?);
            }
        }
        Some(Self::raw(self.id, &in_order(fields)))
    }
}

/// The fields as one object: the known ones as Cal.com orders them, then the others by name.
fn in_order(mut fields: BTreeMap<String, Box<RawValue>>) -> Vec<u8> {
    const ORDER: [&str; 13] = [
        "id",
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
    ];
    let known: Vec<_> = ORDER.iter().filter_map(|key| fields.remove_entry(*key)).collect();
    let mut json = String::from("{");
    for (key, value) in known.into_iter().chain(fields) {
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&Value::from(key).to_string());
        json.push(':');
        json.push_str(value.get());
    }
    json.push('}');
    json.into_bytes()
}

/// The body of an answer that lists these records, and its entity tag. `write` writes one of them.
pub(super) fn list(
    records: &[Arc<Record>],
    mut write: impl FnMut(&Record, &mut Vec<u8>),
) -> (Bytes, HeaderValue) {
    let bytes: usize = records.iter().map(|record| record.answer.len()).sum();
    let mut body = Vec::with_capacity(bytes + HEAD.len() + TAIL.len() + 2);
    let mut hasher = DefaultHasher::new();
    body.extend_from_slice(HEAD);
    body.push(b'[');
    for (index, record) in records.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        write(record, &mut body);
        hasher.write_u64(record.hash);
    }
    body.push(b']');
    body.extend_from_slice(TAIL);
    let tag = tag(body.len(), hasher.finish());
    (Bytes::from(body), tag)
}

/// A weak entity tag of a length and a hash: the shape of Express's, without its SHA-1.
fn tag(length: usize, hash: u64) -> HeaderValue {
    HeaderValue::try_from(format!("W/\"{length:x}-{hash:016x}\"")).expect("hex digits fit a header")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_example_is_rendered_word_for_word() {
        let record = Record::of(&User::alice("cluo37fwd0001khkzqqynkpj3"));
        let expected = concat!(
            r#"{"status":"success","data":{"id":1,"email":"alice+cluo37fwd0001khkzqqynkpj3@example.com","#,
            r#""username":"alice","name":"alice","bio":"bio","timeZone":"America/New_York","#,
            r#""weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z","timeFormat":12,"#,
            r#""defaultScheduleId":null,"locale":"en","#,
            r#""avatarUrl":"https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png","#,
            r#""metadata":{"key":"value"}}}"#,
        );
        assert_eq!(record.answer(), expected);
    }

    #[test]
    fn a_patch_keeps_what_it_does_not_name_byte_for_byte() {
        let raw = br#"{"id":9007199254740993,"zeta":1.00,"email":"a@example.com","bio":"\ud800","metadata":{"a":1}}"#;
        let changes = serde_json::json!({ "name": "Ann", "metadata": null });
        let patched = Record::raw(7, raw)
            .patched(changes.as_object().expect("an object"))
            .expect("the record is an object");
        assert_eq!(
            String::from_utf8_lossy(patched.json()),
            r#"{"id":9007199254740993,"email":"a@example.com","name":"Ann","bio":"\ud800","zeta":1.00}"#
        );
        assert_eq!(patched.email(), Some("a@example.com"));
        assert!(Record::raw(7, b"[1]").patched(&Map::new()).is_none());
    }
}
