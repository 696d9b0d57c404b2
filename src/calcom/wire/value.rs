//! One field's value, from its JSON text. Every fault says what is wrong without repeating the value.

use chrono::{DateTime, Utc};
use serde_json::{Number, value::RawValue};

use crate::model::{Json, JsonObject};

/// What is wrong with a value.
pub(super) type Fault = String;

pub(super) fn is_null(raw: &RawValue) -> bool {
    raw.get() == "null"
}

pub(super) fn text(raw: &RawValue) -> Result<String, Fault> {
    let json = raw.get();
    if !json.starts_with('"') {
        return Err(format!("is {}, not a string", kind(json)));
    }
    // The text is JSON already, so this is all that can still be wrong with a string.
    let text: String =
        serde_json::from_str(json).map_err(|_| "holds half of a surrogate pair, which is no text")?;
    if text.contains('\0') {
        return Err("holds U+0000, which Postgres cannot store".to_owned());
    }
    Ok(text)
}

/// A whole number however it is spelled: `1.0` and `1e0` are the number 1 in JSON, and a server may come to print them.
pub(super) fn whole_number(raw: &RawValue) -> Result<i64, Fault> {
    let json = raw.get();
    if kind(json) != "a number" {
        return Err(format!("is {}, not a number", kind(json)));
    }
    integer(json).ok_or_else(|| "is not a whole number of 64 bits".to_owned())
}

/// RFC 3339, cut to microseconds, which is what Postgres keeps.
pub(super) fn moment(raw: &RawValue) -> Result<DateTime<Utc>, Fault> {
    let text = text(raw)?;
    DateTime::parse_from_rfc3339(&text)
        .ok()
        .and_then(|time| DateTime::from_timestamp_micros(time.timestamp_micros()))
        .ok_or_else(|| "is not a time stamp of RFC 3339".to_owned())
}

pub(super) fn object(raw: &RawValue) -> Result<JsonObject, Fault> {
    let json = raw.get();
    if !json.starts_with('{') {
        return Err(format!("is {}, not an object", kind(json)));
    }
    let value = any(raw)?;
    let object = serde_json::Value::from(value);
    let serde_json::Value::Object(entries) = object else {
        return Err("is not an object".to_owned());
    };
    Ok(entries
        .into_iter()
        .map(|(key, value)| (key, Json::from(value)))
        .collect())
}

/// Any value, numbers to the last digit.
pub(super) fn any(raw: &RawValue) -> Result<Json, Fault> {
    if holds_private_key(raw.get()) {
        return Err("holds a key that this version keeps for itself".to_owned());
    }
    let value: Json = serde_json::from_str(raw.get())
        .map_err(|_| "is nested too deeply, or holds half of a surrogate pair".to_owned())?;
    match value.storage_fault() {
        None => Ok(value),
        Some(fault) => Err(fault.to_owned()),
    }
}

/// Whether a text may hold a key by which `serde_json` hands on numbers and raw values to itself.
///
/// It would take an object with such a key for the number in it. Nobody has such keys but to try this out.
pub(super) fn holds_private_key(json: &str) -> bool {
    const PRIVATE: &str = "$serde_json::private::";
    if json.contains(PRIVATE) {
        return true;
    }
    // The key may be spelled with escapes, of which all its characters are `\u00..`.
    if !json.contains("\\u00") {
        return false;
    }
    let mut plain = String::with_capacity(json.len());
    let mut parts = json.split("\\u00");
    plain.extend(parts.next());
    for part in parts {
        match part.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                plain.push(char::from(byte));
                plain.push_str(&part[2..]);
            }
            None => plain.push_str(part),
        }
    }
    plain.contains(PRIVATE)
}

fn kind(json: &str) -> &'static str {
    match json.as_bytes().first() {
        Some(b'"') => "a string",
        Some(b'{') => "an object",
        Some(b'[') => "an array",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

/// The value of a JSON number, if it is whole and fits.
fn integer(json: &str) -> Option<i64> {
    /// Any number of 64 bits has at most 19 digits.
    const MAX_DIGITS: usize = 19;
    let number: Number = serde_json::from_str(json).ok()?;
    let text = number.as_str();
    if let Ok(integer) = text.parse() {
        return Some(integer);
    }
    let (sign, text) = text.strip_prefix('-').map_or(("", text), |rest| ("-", rest));
    let (mantissa, power) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(0);
    }
    let significant = digits.trim_end_matches('0');
    let power: i64 = power.parse().ok()?;
    let power = power
        .checked_sub(i64::try_from(fraction.len()).ok()?)?
        .checked_add(i64::try_from(digits.len() - significant.len()).ok()?)?;
    // A power below zero leaves a fraction: the last of the significant digits is none of the zeros.
    let zeros = usize::try_from(power).ok()?;
    if significant.len().checked_add(zeros)? > MAX_DIGITS {
        return None;
    }
    format!("{sign}{significant}{}", "0".repeat(zeros)).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_told_by_value() {
        for (json, value) in [
            ("1", 1),
            ("1.0", 1),
            ("1e0", 1),
            ("10e-1", 1),
            ("0.1E1", 1),
            ("-0", 0),
            ("0.00e99999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808.0", i64::MIN),
            ("12e17", 1_200_000_000_000_000_000),
        ] {
            assert_eq!(integer(json), Some(value), "{json}");
        }
        for json in [
            "1.5",
            "1e-1",
            "9223372036854775808",
            "1e19",
            "1e99999999999999999999",
            "1e9223372036854775807",
            "1.0000000000000000000000001",
        ] {
            assert_eq!(integer(json), None, "{json}");
        }
    }

    #[test]
    fn private_keys_are_found_however_they_are_spelled() {
        for json in [
            r#"{"$serde_json::private::Number":"1"}"#,
            r#"[{"a":{"\u0024serde_json::private::RawValue":"1"}}]"#,
            r#"{"\u0024\u0073erde\u005Fjson::private::Number":"1"}"#,
        ] {
            assert!(holds_private_key(json), "{json}");
        }
        for json in [r#"{"serde_json":1}"#, r#""\u00e9\u00""#, r#"{"\u0000":"\u00zé"}"#] {
            assert!(!holds_private_key(json), "{json}");
        }
    }
}
