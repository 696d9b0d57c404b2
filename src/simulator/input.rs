//! What a request's query and body may hold.

use axum::http::Uri;
use serde_json::{Map, Value, json};

use super::{
    email,
    refusal::{Refusal, Violation},
};

/// A listing's query, checked.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Page {
    pub(super) limit: usize,
    pub(super) offset: usize,
    /// With their suffixes.
    pub(super) emails: Option<Vec<String>>,
}

impl Page {
    pub(super) fn of(uri: &Uri, client_id: &str) -> Result<Self, Refusal> {
        const MAX: i64 = 250;
        const DEFAULT_LIMIT: i64 = 50;
        let (mut limit, mut offset, mut emails) = (Some(DEFAULT_LIMIT), Some(0), None);
        for (key, value) in url::form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            match &*key {
                "limit" => limit = leading_number(&value),
                "offset" => offset = leading_number(&value),
                "emails" => {
                    let checked = value.split(',').map(|address| {
                        let address = address.trim();
                        if email::is_valid(address) {
                            Ok(email::with_suffix(address, client_id))
                        } else {
                            Err(Refusal::InvalidEmail(address.to_owned()))
                        }
                    });
                    emails = Some(checked.collect::<Result<Vec<_>, _>>()?);
                }
                _ => {}
            }
        }
        let target = json!({ "limit": limit, "offset": offset });
        let mut violations = Vec::new();
        for (property, value, min) in [("limit", limit, 1), ("offset", offset, 0)] {
            let mut constraints = Map::new();
            if value.is_none_or(|value| value > MAX) {
                constraints.insert(
                    "max".to_owned(),
                    format!("{property} must not be greater than {MAX}").into(),
                );
            }
            if value.is_none_or(|value| value < min) {
                constraints.insert(
                    "min".to_owned(),
                    format!("{property} must not be less than {min}").into(),
                );
            }
            if value.is_none() {
                let rule = "must be a number conforming to the specified constraints";
                constraints.insert("isNumber".to_owned(), format!("{property} {rule}").into());
            }
            if !constraints.is_empty() {
                violations.push(Violation {
                    target: target.clone(),
                    value: value.into(),
                    property,
                    children: [],
                    constraints,
                });
            }
        }
        if !violations.is_empty() {
            return Err(Refusal::Violations(violations));
        }
        let within = |value: Option<i64>| value.and_then(|value| usize::try_from(value).ok()).unwrap_or(0);
        Ok(Self {
            limit: within(limit),
            offset: within(offset),
            emails,
        })
    }
}

/// JavaScript's parseInt, which the server uses: what follows the digits is ignored.
fn leading_number(text: &str) -> Option<i64> {
    let text = text.trim_start();
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    let end = text.len() - unsigned.len() + digits;
    if digits == 0 {
        return None;
    }
    // More digits than fit are out of bounds either way.
    Some(text[..end].parse().unwrap_or(i64::MAX))
}

/// The fields of a body that the server knows, checked; it drops the others.
pub(super) fn fields(body: Value, creating: bool, client_id: &str) -> Result<Map<String, Value>, Refusal> {
    const DAYS: [&str; 7] = [
        "Monday",
        "Tuesday",
        "Wednesday",
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
    ];
    let Value::Object(given) = body else {
        return Err(Refusal::UnreadableBody("Unexpected token in JSON".to_owned()));
    };
    let mut known = Map::new();
    let mut violations = Vec::new();
    for property in [
        "email",
        "name",
        "timeFormat",
        "defaultScheduleId",
        "weekStart",
        "timeZone",
        "locale",
        "avatarUrl",
        "bio",
        "metadata",
    ] {
        if creating && property == "defaultScheduleId" {
            continue;
        }
        let value = given.get(property).unwrap_or(&Value::Null);
        let required = matches!(property, "email" | "name") && creating;
        let (rule, holds) = match property {
            "timeFormat" => ("isEnum", value.as_i64().is_some_and(|n| n == 12 || n == 24)),
            "defaultScheduleId" => ("isNumber", value.is_number()),
            "weekStart" => ("isIn", value.as_str().is_some_and(|day| DAYS.contains(&day))),
            "timeZone" => ("isTimeZone", value.as_str().is_some_and(is_time_zone)),
            "email" => ("isEmail", value.as_str().is_some_and(email::is_valid)),
            "metadata" => ("isMetadata", is_metadata(value)),
            _ => ("isString", value.is_string()),
        };
        if value.is_null() && !required {
            if given.contains_key(property) {
                known.insert(property.to_owned(), Value::Null);
            }
        } else if holds {
            known.insert(property.to_owned(), value.clone());
        } else {
            violations.push(Violation {
                target: Value::Object(given.clone()),
                value: value.clone(),
                property,
                children: [],
                constraints: Map::from_iter([(
                    rule.to_owned(),
                    format!("{property} does not satisfy {rule}").into(),
                )]),
            });
        }
    }
    if !violations.is_empty() {
        return Err(Refusal::Violations(violations));
    }
    // These columns are not nullable at the source.
    known.retain(|key, value| {
        !(value.is_null() && matches!(key.as_str(), "email" | "timeZone" | "weekStart"))
    });
    if let Some(Value::String(address)) = known.get_mut("email") {
        *address = email::with_suffix(address, client_id);
    }
    Ok(known)
}

fn is_time_zone(name: &str) -> bool {
    name.parse::<chrono_tz::Tz>().is_ok()
}

fn is_metadata(value: &Value) -> bool {
    const MAX_KEYS: usize = 50;
    const MAX_KEY_CHARS: usize = 40;
    const MAX_VALUE_CHARS: usize = 500;
    value.as_object().is_some_and(|entries| {
        entries.len() <= MAX_KEYS
            && entries.iter().all(|(key, value)| {
                key.chars().count() <= MAX_KEY_CHARS
                    && value
                        .as_str()
                        .is_none_or(|text| text.chars().count() <= MAX_VALUE_CHARS)
            })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(query: &str) -> Result<Page, Refusal> {
        let uri = format!("/v2/oauth-clients/clx0/users?{query}")
            .parse()
            .expect("a valid path");
        Page::of(&uri, "clx0")
    }

    #[test]
    fn a_query_without_bounds_has_the_servers_own() {
        let page = page("").expect("an empty query is fine");
        assert_eq!((page.limit, page.offset, page.emails), (50, 0, None));
    }

    #[test]
    fn numbers_are_read_as_parse_int_does() {
        assert_eq!(leading_number(" -12abc"), Some(-12));
        assert_eq!(leading_number("abc"), None);
        assert_eq!(leading_number("99999999999999999999"), Some(i64::MAX));
    }

    #[test]
    fn one_bad_address_fails_the_query() {
        let good = page("emails=a%40x.org,b%2Bclx0%40x.org").expect("both are addresses");
        assert_eq!(
            good.emails.expect("emails were given"),
            ["a+clx0@x.org", "b+clx0@x.org"]
        );
        assert_eq!(
            page("emails=a%40x.org,oops").expect_err("one is none"),
            Refusal::InvalidEmail("oops".to_owned())
        );
    }

    #[test]
    fn a_body_keeps_what_the_server_knows() {
        let body = json!({ "email": "a@x.org", "name": "A", "shoeSize": 44, "bio": null });
        let fields = fields(body, true, "clx0").expect("the body is fine");
        assert_eq!(
            Value::Object(fields),
            json!({ "email": "a+clx0@x.org", "name": "A", "bio": null })
        );
    }

    #[test]
    fn a_body_is_refused_for_each_bad_field() {
        let body = json!({ "timeFormat": 13, "weekStart": "Funday", "metadata": { "k": "x".repeat(501) } });
        let Err(Refusal::Violations(violations)) = fields(body, true, "clx0") else {
            panic!("the body must be refused");
        };
        let named: Vec<_> = violations.iter().map(|violation| violation.property).collect();
        assert_eq!(named, ["email", "name", "timeFormat", "weekStart", "metadata"]);
    }
}
