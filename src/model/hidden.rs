//! Characters that show nothing themselves and change how a terminal shows others: whoever writes a user's name may put
//! them there.

use std::{borrow::Cow, fmt::Write as _};

/// Whether a character is a control character, or turns the direction of text, or is an invisible break or mark.
///
/// Joiners and variation selectors are none of these: scripts and emoji need them.
pub fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{061c}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
        )
}

/// The text with each hidden character as `\u001b`, which JSON reads as the character it was.
pub fn escape_hidden(text: &str) -> Cow<'_, str> {
    escape(text, is_hidden)
}

/// As [`escape_hidden`], of a text that may have several lines.
pub fn escape_hidden_but_breaks(text: &str) -> Cow<'_, str> {
    escape(text, |c| is_hidden(c) && c != '\n')
}

fn escape(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_escaped(c) {
            // Each of them is in the basic plane.
            write!(escaped, "\\u{:04x}", u32::from(c)).expect("writing to a string does not fail");
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_what_people_write_is_not() {
        let nasty = "a\u{1b}[31mb\u{9b}2Jc\u{202e}d\u{7f}e\nf\u{2066}g\u{200f}";
        assert_eq!(
            escape_hidden(nasty),
            r"a\u001b[31mb\u009b2Jc\u202ed\u007fe\u000af\u2066g\u200f"
        );
        for fine in ["Zoë 王小明", "👩‍👩‍👧 ❤️", "e\u{301}", "می‌خواهم", "\"\\u001b\""]
        {
            assert!(matches!(escape_hidden(fine), Cow::Borrowed(same) if same == fine));
        }
        assert_eq!(escape_hidden_but_breaks("a\nb\r"), "a\nb\\u000d");
    }

    proptest! {
        #[test]
        fn escaped_json_is_the_same_value(text: String) {
            let value = Value::from(text);
            let escaped = escape_hidden(&value.to_string()).into_owned();
            prop_assert!(!escaped.contains(is_hidden));
            prop_assert_eq!(serde_json::from_str::<Value>(&escaped).expect("it is JSON still"), value);
        }
    }
}
