//! What a request's query and body may hold.

mod page;

use serde_json::{Map, Value};

use super::{
    email,
    refusal::{Refusal, Violation},
};
pub(super) use page::{OrganizationPage, Page};

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
    use serde_json::json;

    use super::*;

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
