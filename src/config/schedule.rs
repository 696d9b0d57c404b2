//! `[schedule]`.

use chrono::{DateTime, Utc};
use chrono_tz::{TZ_VARIANTS, Tz};
use croner::{
    errors::CronError,
    parser::{CronParser, Seconds},
};

use super::{
    Schedule, names,
    reading::Reading,
    section::{Said, Section},
    tree::Table,
};

pub(super) const KEYS: [&str; 3] = ["cron", "timezone", "at_start"];

impl Default for Schedule {
    fn default() -> Self {
        Self {
            cron: "*/5 * * * *".to_owned(),
            timezone: Tz::UTC,
            at_start: true,
        }
    }
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Schedule {
    let section = Section::of(root, "schedule", &KEYS, reading);
    let default = Schedule::default();
    Schedule {
        cron: cron(&section, &default.cron, reading),
        timezone: section
            .text("timezone", reading)
            .and_then(|said| timezone(&said, &section, reading))
            .unwrap_or(default.timezone),
        at_start: section.truth("at_start", default.at_start, reading),
    }
}

/// Also a key of `[[clients]]`.
pub(super) fn cron(section: &Section<'_>, default: &str, reading: &mut Reading<'_>) -> String {
    let Some(said) = section.text("cron", reading) else {
        return default.to_owned();
    };
    let fields: Vec<_> = said.value.split_whitespace().collect();
    if let Err((message, remedy)) = check_cron(&fields) {
        reading.fault(&said.origin, section.key("cron"), message, remedy);
    }
    fields.join(" ")
}

fn check_cron(fields: &[&str]) -> Result<(), (String, &'static str)> {
    const FORM: &str = "as in \"*/5 * * * *\": minute, hour, day, month, weekday; seconds may stand in front";
    // More than any field of use has, and a bound for what is parsed.
    const MAX_FIELD_BYTES: usize = 256;
    if fields.first().is_some_and(|first| first.starts_with('@')) {
        return Err(("must be written out".to_owned(), FORM));
    }
    if !matches!(fields.len(), 5 | 6) {
        let message = format!("must have five or six fields, not {}", fields.len());
        return Err((message, FORM));
    }
    if fields
        .iter()
        .any(|field| field.len() > MAX_FIELD_BYTES || !field.is_ascii() || field.contains('@'))
    {
        return Err(("has a field that is no cron field".to_owned(), FORM));
    }
    // The same settings as the scheduler's own parser.
    let cron = CronParser::builder()
        .seconds(Seconds::Optional)
        .dom_and_dow(true)
        .build()
        .parse(&fields.join(" "))
        .map_err(|error| (format!("is no cron pattern: {}", why(&error)), FORM))?;
    // From any time will do: a pattern without a year that has no next time now never has one.
    cron.find_next_occurrence(&DateTime::<Utc>::UNIX_EPOCH, false)
        .map_err(|_| ("never comes due".to_owned(), "check its day and month"))?;
    Ok(())
}

fn why(error: &CronError) -> String {
    let text = match error {
        CronError::InvalidPattern(text)
        | CronError::IllegalCharacters(text)
        | CronError::ComponentError(text) => text.clone(),
        other => other.to_string(),
    };
    text.trim_end_matches('.').to_lowercase()
}

fn timezone(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<Tz> {
    if let Ok(zone) = said.value.parse() {
        return Some(zone);
    }
    let remedy = match names::nearest(&said.value, TZ_VARIANTS.iter().map(|zone| zone.name())) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => "write an IANA name such as \"Europe/Berlin\", or \"UTC\"".to_owned(),
    };
    let message = format!("{:?} is no time zone", said.value);
    reading.fault(&said.origin, section.key("timezone"), message, remedy);
    None
}
