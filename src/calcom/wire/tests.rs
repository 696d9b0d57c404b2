mod errors;
mod seen;

use std::sync::Arc;

use super::*;
use crate::{
    calcom::Disposition,
    model::{Json, ManagedUser, Reject},
};

const ASKED: UserId = UserId(7);

/// An answer that has a status and a body, and nothing else to it.
pub(super) fn answer(status: u16, body: &[u8]) -> Answer<'_> {
    Answer {
        status: StatusCode::from_u16(status).expect("the test's status is valid"),
        location: None,
        blocked_until: None,
        rest: None,
        body,
    }
}

fn decode(status: u16, body: impl AsRef<[u8]>) -> Result<Observation, Error> {
    decode_answer(
        &answer(status, body.as_ref()),
        ASKED,
        &SecretString::from("s3cr3t"),
    )
}

fn failure(status: u16, code: &str, message: &str) -> Result<Observation, Error> {
    let path = "/v2/oauth-clients/abc/users/7";
    let error = serde_json::json!({ "code": code, "message": message, "details": { "message": message } });
    let body = serde_json::json!({
        "status": "error", "timestamp": "2025-12-01T00:00:00.000Z", "path": path, "error": error,
    });
    decode(status, body.to_string())
}

fn error(result: Result<Observation, Error>) -> Error {
    result.expect_err("this proves nothing")
}

/// A record with some of its fields replaced, or left out where `null` as text is not enough.
fn record(changes: &[(&str, Option<&str>)]) -> String {
    let mut fields = vec![
        ("id", "7"),
        ("email", r#""alice+abc@example.com""#),
        ("username", r#""alice""#),
        ("name", "null"),
        ("bio", "null"),
        ("timeZone", r#""America/New_york""#),
        ("weekStart", r#""Sunday""#),
        ("createdDate", r#""2024-04-01T00:00:00.123Z""#),
        ("timeFormat", "12"),
        ("defaultScheduleId", "9007199254740993"),
        ("locale", r#""en""#),
        ("avatarUrl", "null"),
    ];
    for (name, value) in changes {
        fields.retain(|(known, _)| known != name);
        fields.extend(value.map(|value| (*name, value)));
    }
    let fields: Vec<String> = fields
        .iter()
        .map(|(name, value)| format!("\"{name}\":{value}"))
        .collect();
    format!("{{\"status\":\"success\",\"data\":{{{}}}}}", fields.join(","))
}

fn present(body: impl AsRef<[u8]>) -> ManagedUser {
    match decode(200, body) {
        Ok(Observation::Present(user)) => Arc::unwrap_or_clone(user),
        other => panic!("not a user: {other:?}"),
    }
}

fn rejected(body: impl AsRef<[u8]>) -> Reject {
    match decode(200, body) {
        Ok(Observation::Unreadable(reject)) => reject,
        other => panic!("not a reject: {other:?}"),
    }
}

#[test]
fn the_documented_example_decodes_field_for_field() {
    let body = r#"{"status":"success","data":{
        "id":1,"email":"alice+cluo37fwd0001khkzqqynkpj3@example.com","username":"alice","name":"alice","bio":"bio",
        "timeZone":"America/New_York","weekStart":"Sunday","createdDate":"2024-04-01T00:00:00.000Z","timeFormat":12,
        "defaultScheduleId":null,"locale":"en","avatarUrl":"https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png",
        "metadata":{"key":"value"}}}"#;
    let text = |text: &str| Some(text.to_owned());
    let user = ManagedUser {
        id: UserId(1),
        email: "alice+cluo37fwd0001khkzqqynkpj3@example.com".to_owned(),
        username: text("alice"),
        name: text("alice"),
        bio: text("bio"),
        time_zone: "America/New_York".to_owned(),
        week_start: "Sunday".to_owned(),
        created_date: "2024-04-01T00:00:00Z".parse().expect("a valid time"),
        time_format: Some(12),
        default_schedule_id: None,
        locale: text("en"),
        avatar_url: text("https://cal.com/api/avatar/2b735186-b01b-46d3-87da-019b8f61776b.png"),
        metadata: Some([("key".to_owned(), Json::from("value"))].into_iter().collect()),
        extra: Default::default(),
    };
    let observed = decode_answer(&answer(200, body.as_bytes()), UserId(1), &SecretString::default())
        .expect("a valid answer");
    assert_eq!(observed, Observation::Present(Arc::new(user)));
}

#[test]
fn a_body_that_is_no_record_proves_nothing() {
    let whole = record(&[]);
    let mut invalid = whole.clone().into_bytes();
    invalid[60] = 0xff;
    let bodies: [&[u8]; 16] = [
        b"",
        b" ",
        b"null",
        b"[]",
        b"{}",
        b"<!DOCTYPE html><html>",
        b"\xef\xbb\xbf{}",
        b"\xff\xfe",
        &invalid,
        br#"{"status":"success"}"#,
        br#"{"status":"success","data":null}"#,
        br#"{"status":"success","data":[]}"#,
        br#"{"status":"success","data":"alice"}"#,
        br#"{"status":"error","data":{"id":7}}"#,
        br#"{"status":7,"data":{"id":7}}"#,
        br#"{"status":"success","data":{"id":7}} {}"#,
    ];
    for body in bodies
        .into_iter()
        .chain((0..whole.len()).map(|end| &whole.as_bytes()[..end]))
    {
        let error = error(decode(200, body));
        assert_eq!(error.disposition(), Disposition::Retry, "{error}");
        assert!(!format!("{error} {error:?}").contains("alice"), "{error:?}");
    }
}

#[test]
fn absent_and_null_are_one() {
    let nullable = [
        "username",
        "name",
        "bio",
        "timeFormat",
        "defaultScheduleId",
        "locale",
        "avatarUrl",
        "metadata",
        "new",
    ];
    let absent = present(record(&nullable.map(|name| (name, None))));
    let null = present(record(&nullable.map(|name| (name, Some("null")))));
    assert_eq!(absent, null);
    assert!(absent.username.is_none() && absent.locale.is_none() && absent.extra.is_empty());
}

#[test]
fn numbers_stay_exact_and_unknown_fields_are_kept() {
    let user = present(record(&[
        ("id", Some("7.0")),
        ("timeFormat", Some("2.4e1")),
        (
            "metadata",
            Some(r#"{"n":12345678901234567890.12345678901234567890,"deep":{"null":null}}"#),
        ),
        ("role", Some(r#"{"a":[1e+400]}"#)),
    ]));
    assert_eq!(user.default_schedule_id, Some(9_007_199_254_740_993));
    assert_eq!(user.time_format, Some(24));
    let metadata = Json::from(user.metadata.expect("it has metadata")).to_string();
    assert!(
        metadata.contains("12345678901234567890.12345678901234567890"),
        "{metadata}"
    );
    assert_eq!(
        user.extra.get("role").expect("it is kept").to_string(),
        r#"{"a":[1e+400]}"#
    );
}

#[test]
fn all_faults_of_a_record_are_told_at_once_without_its_values() {
    let reject = rejected(record(&[
        ("id", None),
        ("email", Some("null")),
        ("name", Some(r#""Alice\u0000Smith""#)),
        ("bio", Some(r#""\ud800 Smith""#)),
        ("timeZone", Some("3")),
        ("createdDate", Some(r#""yesterday""#)),
        ("timeFormat", Some("12.5")),
        ("defaultScheduleId", Some(r#""Smith""#)),
        ("metadata", Some("[\"Smith\"]")),
        ("new", Some(r#"{"$serde_json::private::Number":"1"}"#)),
        ("far", Some("1e999999")),
    ]));
    assert_eq!(reject.id, ASKED);
    let faults: Vec<String> = reject.faults.iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(faults.join("\n"), @r"
    id: is missing
    email: is null, not a string
    name: holds U+0000, which Postgres cannot store
    bio: holds half of a surrogate pair, which is no text
    timeZone: is a number, not a string
    createdDate: is not a time stamp of RFC 3339
    timeFormat: is not a whole number of 64 bits
    defaultScheduleId: is a string, not a number
    metadata: is an array, not an object
    far: holds a number of more than 1000 digits
    new: holds a key that this version keeps for itself
    ");
}

#[test]
fn a_record_of_another_user_is_no_sighting_of_that_one() {
    let reject = rejected(record(&[("id", Some("8"))]));
    assert_eq!(reject.id, ASKED);
    assert_eq!(reject.faults[0].to_string(), "id: is 8, but 7 was asked for");
    assert_eq!(reject.record, "", "it is the record of somebody else");
}

#[test]
fn a_record_is_kept_up_to_a_bound_and_at_a_whole_character() {
    let long = format!("\"{}\"", "é".repeat(Reject::MAX_RECORD_BYTES));
    let reject = rejected(record(&[("email", Some("1")), ("name", Some(&long))]));
    assert!(reject.record.len() <= Reject::MAX_RECORD_BYTES);
    assert!(reject.record.len() > Reject::MAX_RECORD_BYTES - 4);
}

#[test]
fn nesting_without_end_is_a_fault_and_no_overflow() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(rejected(record(&[("new", Some(&deep))])).faults.len(), 1);
}

#[test]
fn created_dates_are_cut_to_microseconds() {
    let at = |text: &str| present(record(&[("createdDate", Some(text))])).created_date;
    assert_eq!(
        at(r#""2024-04-01T02:00:00.1234569+02:00""#).timestamp_micros() % 1_000_000,
        123_456
    );
    assert_eq!(at(r#""1969-12-31T23:59:59.9999999Z""#).timestamp_micros(), -1);
}
