//! JSON whose equality is that of `jsonb`: by value, whatever the order of keys or the spelling of numbers.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::escape_hidden;

/// A JSON value that compares as `jsonb` does.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Json(Value);

/// A JSON object that compares as `jsonb` does.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JsonObject(BTreeMap<String, Json>);

impl Json {
    pub const NULL: Self = Self(Value::Null);

    pub fn is_null(&self) -> bool {
        self.0.is_null()
    }

    /// Whether this is `{}`.
    pub fn is_empty_object(&self) -> bool {
        self.0.as_object().is_some_and(serde_json::Map::is_empty)
    }

    /// Roughly the bytes of memory that this takes.
    pub fn weight(&self) -> usize {
        weight(&self.0)
    }

    /// A member of an object; null where there is none.
    pub fn member(&self, key: &str) -> Self {
        Self(self.0.get(key).cloned().unwrap_or_default())
    }

    /// Why Postgres could not store this value as `jsonb`, if it could not.
    ///
    /// `jsonb` refuses U+0000 in strings and keys. Numbers and depth have bounds of ours, below those of Postgres, so that
    /// what was written can always be read again.
    pub fn storage_fault(&self) -> Option<&'static str> {
        storage_fault(&self.0, 0)
    }
}

impl JsonObject {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Roughly the bytes of memory that this takes.
    pub fn weight(&self) -> usize {
        self.0
            .iter()
            .map(|(key, value)| key.len() + weight(&value.0))
            .sum()
    }

    pub fn insert(&mut self, key: String, value: Json) {
        self.0.insert(key, value);
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    pub fn get(&self, key: &str) -> Option<&Json> {
        self.0.get(key)
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self(Value::from(text))
    }
}

impl From<i64> for Json {
    fn from(number: i64) -> Self {
        Self(Value::from(number))
    }
}

impl From<Value> for Json {
    fn from(value: Value) -> Self {
        Self(value)
    }
}

impl From<Json> for Value {
    fn from(json: Json) -> Self {
        json.0
    }
}

impl From<JsonObject> for Json {
    fn from(object: JsonObject) -> Self {
        Self(Value::Object(
            object.0.into_iter().map(|(key, value)| (key, value.0)).collect(),
        ))
    }
}

impl FromIterator<(String, Json)> for JsonObject {
    fn from_iter<T: IntoIterator<Item = (String, Json)>>(entries: T) -> Self {
        Self(entries.into_iter().collect())
    }
}

/// As JSON, with nothing in it that a terminal would obey.
impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape_hidden(&self.0.to_string()))
    }
}

impl PartialEq for Json {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl Eq for Json {}

fn equal(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(left), Value::Number(right)) => {
            left == right || Decimal::of(left).is_some_and(|left| Some(left) == Decimal::of(right))
        }
        (Value::Array(left), Value::Array(right)) => {
            left.len() == right.len() && left.iter().zip(right).all(|(left, right)| equal(left, right))
        }
        (Value::Object(left), Value::Object(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .all(|(key, value)| right.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => left == right,
    }
}

fn storage_fault(value: &Value, depth: usize) -> Option<&'static str> {
    const NUL: &str = "holds U+0000, which Postgres cannot store";
    if depth > MAX_DEPTH {
        return Some("is nested more than 100 deep");
    }
    match value {
        Value::Null | Value::Bool(_) => None,
        Value::Number(number) => (!fits(number)).then_some("holds a number of more than 1000 digits"),
        Value::String(text) => text.contains('\0').then_some(NUL),
        Value::Array(values) => values.iter().find_map(|value| storage_fault(value, depth + 1)),
        Value::Object(entries) => entries.iter().find_map(|(key, value)| {
            if key.contains('\0') {
                Some(NUL)
            } else {
                storage_fault(value, depth + 1)
            }
        }),
    }
}

/// serde_json reads 128 deep, and a value is wrapped up to three times more in the ledger and in our own output.
const MAX_DEPTH: usize = 100;

/// `numeric` would hold a hundred times more, but writes each number out: a few thousand short spellings would make an
/// answer of gigabytes. What JavaScript can have made has no more than 325.
const MAX_DIGITS: u64 = 1000;

/// Whether the number as spelled has few enough digits on either side of the point when it is written out.
fn fits(number: &Number) -> bool {
    let spelled = number.as_str();
    let (mantissa, power) = spelled.split_once(['e', 'E']).unwrap_or((spelled, "0"));
    power
        .parse::<i64>()
        .is_ok_and(|power| power.unsigned_abs().saturating_add(mantissa.len() as u64) <= MAX_DIGITS)
}

fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) => 0,
        Value::Number(number) => number.as_str().len(),
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(weight).sum(),
        Value::Object(entries) => entries.iter().map(|(key, value)| key.len() + weight(value)).sum(),
    };
    size_of::<Value>() + inside
}

/// A number as its significant digits and the power of ten of the last one: one spelling for each value.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// `None` where the exponent does not fit 64 bits.
    fn of(number: &Number) -> Option<Self> {
        let text = number.as_str();
        let (negative, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().ok()?),
            None => (text, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let mut digits = format!("{whole}{fraction}");
        let mut exponent = exponent.checked_sub(i64::try_from(fraction.len()).ok()?)?;
        let significant = digits.trim_end_matches('0').len();
        exponent = exponent.checked_add(i64::try_from(digits.len() - significant).ok()?)?;
        digits.truncate(significant);
        let digits = digits.trim_start_matches('0').to_owned();
        // Zero has neither a sign nor an exponent.
        if digits.is_empty() {
            return Some(Self {
                negative: false,
                digits,
                exponent: 0,
            });
        }
        Some(Self {
            negative,
            digits,
            exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json {
        serde_json::from_str(text).expect("the test's JSON is valid")
    }

    #[test]
    fn numbers_compare_by_value() {
        for (left, right) in [
            ("1", "1.0"),
            ("1e2", "100"),
            ("-0", "0.00"),
            ("12.50", "1.25E+1"),
            ("0e99999", "0"),
            ("0.001", "1e-3"),
            ("9007199254740993", "9007199254740993.0"),
        ] {
            assert_eq!(json(left), json(right), "{left} and {right} are one value");
        }
        for (left, right) in [
            ("1", "-1"),
            ("9007199254740993", "9007199254740992"),
            ("1", "10"),
            ("1", "\"1\""),
        ] {
            assert_ne!(json(left), json(right), "{left} and {right} are two values");
        }
    }

    #[test]
    fn key_order_is_no_difference_and_absent_is_not_null() {
        assert_eq!(
            json(r#"{"a":1,"b":{"c":[1,2]}}"#),
            json(r#"{"b":{"c":[1.0,2]},"a":1}"#)
        );
        assert_ne!(json(r#"{"a":null}"#), json("{}"));
        assert_ne!(json("[1,2]"), json("[2,1]"));
    }

    #[test]
    fn what_could_not_be_read_again_is_found() {
        let nested = |depth: usize| json(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)));
        assert_eq!(nested(101).storage_fault(), None);
        assert_eq!(nested(102).storage_fault(), Some("is nested more than 100 deep"));
    }

    #[test]
    fn what_postgres_cannot_store_is_found() {
        for text in [
            r#""a\u0000b""#,
            r#"{"\u0000":1}"#,
            r#"[{"x":"\u0000"}]"#,
            "1e1000",
            "1e-1000",
            "0e99999999999",
            "1e99999999999999999999",
        ] {
            assert!(json(text).storage_fault().is_some(), "{text} cannot be stored");
        }
        for text in [
            "1e999",
            "1.7976931348623157e308",
            "5e-324",
            "123456789012345678901234567890",
            r#""\u00e9""#,
            "0",
        ] {
            assert!(json(text).storage_fault().is_none(), "{text} can be stored");
        }
    }
}
