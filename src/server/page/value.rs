//! Values of users, as people may see them. They are whatever somebody typed into Cal.com.

use std::fmt::Write as _;

use crate::{
    compare::Values,
    model::{Field, Json, JsonObject},
};

/// What stands for a value that is not shown.
pub(super) const MASK: &str = "***";

/// What of one value fits into a list.
pub(super) const SHORT: usize = 200;

/// What of one value fits on a page of its own.
pub(super) const LONG: usize = 4_000;

/// Whether the values of a column are left out. Those of a column that is not known are, like those of `extra`.
fn masks(values: Values, column: &str) -> bool {
    let field = Field::ALL.into_iter().find(|field| field.column() == column);
    values.masks(field.unwrap_or(Field::Extra))
}

/// A value of a column for people: as JSON, but for texts, which stand without quotes. At most so many characters of it, and none that
/// cannot be seen.
pub(super) fn shown(values: Values, column: &str, value: &Json, limit: usize) -> String {
    if value.is_null() {
        return "null".to_owned();
    }
    if masks(values, column) {
        return MASK.to_owned();
    }
    let json = serde_json::Value::from(value.clone());
    match json.as_str() {
        Some("") => "\"\"".to_owned(),
        Some(text) => visible(text, limit),
        None => visible(&json.to_string(), limit),
    }
}

/// The same object with every value masked that is not to be seen.
pub(super) fn masked(values: Values, state: &JsonObject) -> JsonObject {
    let members = state.keys().filter_map(|column| {
        let value = state.get(column)?;
        Some((column.to_owned(), mask(values, column, value)))
    });
    members.collect()
}

/// The same changes with every old and new value masked that is not to be seen.
pub(super) fn masked_changes(values: Values, changed: &JsonObject) -> JsonObject {
    let members = changed.keys().filter_map(|column| {
        let change = changed.get(column)?;
        let sides = ["old", "new"].map(|side| (side.to_owned(), mask(values, column, &change.member(side))));
        Some((
            column.to_owned(),
            Json::from(sides.into_iter().collect::<JsonObject>()),
        ))
    });
    members.collect()
}

fn mask(values: Values, column: &str, value: &Json) -> Json {
    if !value.is_null() && masks(values, column) {
        Json::from(MASK)
    } else {
        value.clone()
    }
}

/// A text with its unseen characters spelled out, such as those that turn the direction of what follows.
pub(super) fn visible(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for (position, character) in text.chars().enumerate() {
        if position == limit {
            shown.push('…');
            break;
        }
        if is_unseen(character) {
            // Writing to a string does not fail.
            write!(shown, "\\u{{{:x}}}", u32::from(character)).ok();
        } else {
            shown.push(character);
        }
    }
    shown
}

/// Control characters, and those of formatting that change what is around them or hide. The joiners of emoji and of Indic scripts stay.
fn is_unseen(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}'
        )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn personal_and_unknown_columns_are_masked_and_null_is_not() {
        let value = Json::from("Ada");
        for column in [
            "email",
            "username",
            "name",
            "bio",
            "avatar_url",
            "metadata",
            "extra",
            "shoe_size",
        ] {
            assert_eq!(shown(Values::Masked, column, &value, SHORT), MASK, "{column}");
            assert_eq!(shown(Values::Full, column, &value, SHORT), "Ada", "{column}");
            assert_eq!(
                shown(Values::Masked, column, &Json::NULL, SHORT),
                "null",
                "{column}"
            );
        }
        assert_eq!(shown(Values::Masked, "time_zone", &value, SHORT), "Ada");
    }

    #[test]
    fn json_is_masked_on_both_sides_of_a_change() {
        let changed: JsonObject = serde_json::from_value(json!({
            "name": {"old": "Ada", "new": null}, "time_zone": {"old": "UTC", "new": "Asia/Tokyo"}
        }))
        .expect("an object");
        let masked = serde_json::to_value(masked_changes(Values::Masked, &changed)).expect("JSON");
        assert_eq!(
            masked,
            json!({"name": {"old": "***", "new": null}, "time_zone": {"old": "UTC", "new": "Asia/Tokyo"}})
        );
    }

    #[test]
    fn what_cannot_be_seen_is_spelled_out_and_what_is_long_is_cut() {
        assert_eq!(
            visible("a\u{202e}b\n\u{7}\u{200b}", 99),
            "a\\u{202e}b\\u{a}\\u{7}\\u{200b}"
        );
        assert_eq!(visible("naïve 👩‍🚀 शक्ति", 99), "naïve 👩‍🚀 शक्ति");
        assert_eq!(visible("abcdef", 3), "abc…");
        let object = Json::from(json!({"plan": "team"}));
        assert_eq!(
            shown(Values::Full, "metadata", &object, SHORT),
            r#"{"plan":"team"}"#
        );
        assert_eq!(shown(Values::Full, "bio", &Json::from(""), SHORT), "\"\"");
    }
}
