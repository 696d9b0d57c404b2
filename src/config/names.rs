//! The sections and keys that this version knows, and what an unknown one may have meant.

use super::{
    calcom, clients, database, log, notify, reading::Reading, removal, retention, schedule, section::Section,
    server, tree::Origin,
};

/// What every variable that overrides a key begins with.
pub(super) const PREFIX: &str = "CALMIRROR__";

pub(super) const SECTIONS: [(&str, &[&str]); 9] = [
    ("calcom", &calcom::KEYS),
    ("database", &database::KEYS),
    ("schedule", &schedule::KEYS),
    ("removal", &removal::KEYS),
    ("retention", &retention::KEYS),
    ("log", &log::KEYS),
    ("server", &server::KEYS),
    ("notify", &notify::KEYS),
    ("clients", &clients::KEYS),
];

/// Faults for each key of `section` that is not one of `known`. `kind` is the section's name in [`SECTIONS`].
pub(super) fn refuse_unknown(section: &Section<'_>, kind: &str, known: &[&str], reading: &mut Reading<'_>) {
    let Some(table) = section.table else { return };
    for (key, entry) in &table.0 {
        if known.contains(&key.as_str()) {
            continue;
        }
        let noun = if kind.is_empty() { "section" } else { "key" };
        let variable = match &entry.key_origin {
            Origin::Variable(name) => Some(name.as_str()),
            Origin::Byte(_) | Origin::Nowhere => None,
        };
        let message = format!("unknown {noun}");
        let remedy = meant(key, kind, known, variable);
        reading.fault(&entry.key_origin, section.key(key), message, remedy);
    }
}

fn meant(key: &str, kind: &str, known: &[&str], variable: Option<&str>) -> String {
    if let Some(near) = nearest(key, known.iter().copied()) {
        return match variable {
            Some(name) => {
                let stem = &name[..name.len() - key.len().min(name.len())];
                format!("did you mean {stem}{}?", near.to_uppercase())
            }
            None => format!("did you mean \"{near}\"?"),
        };
    }
    let home = SECTIONS
        .iter()
        .find(|(section, keys)| *section != kind && keys.contains(&key));
    if let Some((section, _)) = home {
        return format!("it belongs in {}", heading(section));
    }
    format!("known are {}", known.join(", "))
}

pub(super) fn heading(section: &str) -> String {
    if section == "clients" {
        "[[clients]]".to_owned()
    } else {
        format!("[{section}]")
    }
}

/// The candidate that a typing mistake may have turned into `name`: about one slip in three characters.
pub(crate) fn nearest<'a>(name: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    let wanted = plain(name);
    candidates
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&wanted, &plain(candidate)), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
