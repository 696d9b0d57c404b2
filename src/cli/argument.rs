//! Values on the command line, with what to do about one that is none.

use std::path::PathBuf;

use clap::builder::{StringValueParser, TypedValueParser};

/// Ids of Cal.com's: of a user or an organisation.
pub(super) fn id(text: &str) -> Result<i64, &'static str> {
    positive(text).ok_or("an id must be a whole number from 1 to 9223372036854775807, as Cal.com gives it")
}

/// The number of a pass.
pub(super) fn run(text: &str) -> Result<i64, &'static str> {
    positive(text).ok_or("the number of a pass must be a whole number from 1, as `calmirror status` shows it")
}

/// A path that a configuration is to hold, which is text.
pub(super) fn path() -> impl TypedValueParser<Value = PathBuf> {
    StringValueParser::new().map(PathBuf::from)
}

fn positive(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number| *number > 0)
}

#[cfg(test)]
mod tests {
    use super::{id, run};

    #[test]
    fn a_number_is_a_whole_one_from_1() {
        for (text, number) in [("1", 1), ("007", 7), ("9223372036854775807", i64::MAX)] {
            assert_eq!((id(text), run(text)), (Ok(number), Ok(number)));
        }
        for text in [
            "",
            " 1",
            "0",
            "-1",
            "1.0",
            "1e3",
            "0x1",
            "abc",
            "9223372036854775808",
        ] {
            assert!(id(text).is_err() && run(text).is_err(), "{text:?}");
        }
    }
}
