//! `[log]`.

use tracing_subscriber::EnvFilter;

use super::{
    Log, LogFormat, LogValues, names,
    reading::Reading,
    section::{Said, Section},
    tree::Table,
};

pub(super) const KEYS: [&str; 3] = ["format", "values", "level"];

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            values: LogValues::Masked,
            level: "info".to_owned(),
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Log {
    let section = Section::of(root, "log", &KEYS, reading);
    let default = Log::default();
    let formats = [("text", LogFormat::Text), ("json", LogFormat::Json)];
    let values = [("masked", LogValues::Masked), ("full", LogValues::Full)];
    Log {
        format: section.choice("format", &formats, default.format, reading),
        values: section.choice("values", &values, default.values, reading),
        level: section
            .text("level", reading)
            .and_then(|said| level(said, &section, reading))
            .unwrap_or(default.level),
    }
}

fn level(said: Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<String> {
    // `EnvFilter` takes a misspelled level for a module's name, and then logs next to nothing.
    let stray = said
        .value
        .split(',')
        .map(str::trim)
        .find(|directive| is_bare(directive) && !is_level(directive));
    let (message, remedy) = if let Some(stray) = stray {
        let remedy = match names::nearest(stray, LEVELS) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if stray.is_empty() => "remove the stray comma".to_owned(),
            None => format!("a module's level is written \"{stray}=debug\""),
        };
        (
            format!("{stray:?} is no level; levels are {}", LEVELS.join(", ")),
            remedy,
        )
    } else if let Err(error) = EnvFilter::try_new(&said.value) {
        (
            format!("is no filter: {error}"),
            "as in \"info\" or \"info,calmirror=debug\"".to_owned(),
        )
    } else {
        return Some(said.value);
    };
    reading.fault(&said.origin, section.key("level"), message, remedy);
    None
}

fn is_bare(directive: &str) -> bool {
    !directive.contains(['=', '[', ']', '{', '}', '"'])
}

fn is_level(directive: &str) -> bool {
    LEVELS.iter().any(|level| level.eq_ignore_ascii_case(directive))
}
