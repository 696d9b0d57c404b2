//! What one answer says of a user, read without any of the product's code.

use calmirror::simulator::Answered;
use chrono::DateTime;
use serde_json::{Map, Value};

/// What an answer says of the user that was asked for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Said {
    /// The user's fields by column, in canonical form.
    Present(Value),
    /// A record that cannot be mirrored.
    Unreadable,
    /// The one sentence.
    Gone,
}

/// `None` where the answer proves nothing.
pub(crate) fn said(answer: &Answered) -> Option<Said> {
    let user = answer.user_id?;
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    match answer.status {
        _ if !answer.is_whole() => None,
        200 if body["status"] == "success" => match &body["data"] {
            Value::Object(data) => Some(fields(data.clone(), answer.client_id.as_deref()?, user).map_or(
                Said::Unreadable,
                |fields| {
                    let said = Said::Present(canonical(Value::Object(fields)));
                    if holds_nul(&said) { Said::Unreadable } else { said }
                },
            )),
            _ => None,
        },
        404 => {
            let error = &body["error"];
            let sentence = format!("User with ID {user} is not part of this OAuth client.");
            (body["status"] == "error"
                && error["code"] == "NotFoundException"
                && error["message"] == sentence.as_str())
            .then_some(Said::Gone)
        }
        _ => None,
    }
}

fn holds_nul(said: &Said) -> bool {
    fn look(value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains('\0'),
            Value::Array(items) => items.iter().any(look),
            Value::Object(entries) => entries
                .iter()
                .any(|(key, value)| key.contains('\0') || look(value)),
            _ => false,
        }
    }
    matches!(said, Said::Present(fields) if look(fields))
}

/// A field's name on the wire, its column, whether it must be there, and whether a value is of its kind.
type Known<'a> = (&'a str, &'a str, bool, &'a dyn Fn(&Value) -> bool);

/// The columns of a record, or `None` where one of its fields is not what the API says.
fn fields(mut data: Map<String, Value>, client: &str, user: i64) -> Option<Map<String, Value>> {
    // Absent and null mean the same.
    data.retain(|_, value| !value.is_null());
    let text = |value: &Value| value.is_string();
    let whole = |value: &Value| whole(value).is_some();
    let known: [Known<'_>; 13] = [
        ("id", "id", true, &|value| whole_is(value, user)),
        ("email", "email", true, &text),
        ("username", "username", false, &text),
        ("name", "name", false, &text),
        ("bio", "bio", false, &text),
        ("timeZone", "time_zone", true, &text),
        ("weekStart", "week_start", true, &text),
        ("createdDate", "created_date", true, &|value| {
            micros(value).is_some()
        }),
        ("timeFormat", "time_format", false, &whole),
        ("defaultScheduleId", "default_schedule_id", false, &whole),
        ("locale", "locale", false, &text),
        ("avatarUrl", "avatar_url", false, &text),
        ("metadata", "metadata", false, &Value::is_object),
    ];
    let mut columns = Map::new();
    for (name, column, required, fits) in known {
        let value = data.remove(name).unwrap_or_default();
        if value.is_null() && required || !value.is_null() && !fits(&value) {
            return None;
        }
        columns.insert(column.to_owned(), value);
    }
    columns.insert("client_id".to_owned(), client.into());
    columns.insert("extra".to_owned(), Value::Object(data));
    Some(columns)
}

fn whole(value: &Value) -> Option<i64> {
    let Value::Number(number) = value else {
        return None;
    };
    let (negative, digits, exponent) = decimal(number.as_str());
    let zeros = usize::try_from(exponent).ok().filter(|zeros| *zeros < 20)?;
    let sign = if negative { "-" } else { "" };
    format!("{sign}{digits}{}", "0".repeat(zeros)).parse().ok()
}

fn whole_is(value: &Value, wanted: i64) -> bool {
    whole(value) == Some(wanted)
}

fn micros(value: &Value) -> Option<i64> {
    let time = DateTime::parse_from_rfc3339(value.as_str()?).ok()?;
    Some(time.timestamp_micros())
}

/// The same for all spellings of a value that are equal in Postgres. Takes a row's columns, or what the ledger says of them.
pub(crate) fn canonical(value: Value) -> Value {
    match value {
        Value::Number(number) => {
            let (negative, digits, exponent) = decimal(number.as_str());
            let sign = if negative { "-" } else { "" };
            Value::from(format!("\u{1}{sign}{digits}e{exponent}"))
        }
        Value::Array(items) => items.into_iter().map(canonical).collect(),
        Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| {
                let value = match (key.as_str(), micros(&value)) {
                    ("created_date", Some(micros)) => Value::from(format!("\u{1}{micros} µs")),
                    _ => canonical(value),
                };
                (key, value)
            });
            Value::Object(entries.collect())
        }
        other => other,
    }
}

/// Whether it is negative, its digits without zeros at either end, and their power of ten.
fn decimal(text: &str) -> (bool, String, i64) {
    let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        return (false, "0".to_owned(), 0);
    }
    let power: i64 = power
        .trim_start_matches('+')
        .parse()
        .expect("tests' powers are small");
    let dropped = digits.len() - significant.len();
    let exponent = power + i64::try_from(dropped).expect("it is short")
        - i64::try_from(fraction.len()).expect("it is short");
    (negative, significant.to_owned(), exponent)
}

#[test]
fn spellings_of_a_value_are_one() {
    let of = |json: &str| canonical(serde_json::from_str(json).expect("it is JSON"));
    assert_eq!(of(r#"{"a":1,"b":[10,0.5]}"#), of(r#"{"b":[1e1,5.0E-1],"a":1.0}"#));
    assert_ne!(of("1"), of("10"));
    assert_ne!(of("1"), of("-1"));
    assert_ne!(of("1"), of("\"1\""));
    assert_eq!(whole(&serde_json::from_str("-1.20e2").expect("JSON")), Some(-120));
    assert_eq!(whole(&serde_json::from_str("1.5").expect("JSON")), None);
}
