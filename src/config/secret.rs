//! A secret, of a client or another, which the file never holds: it says where the secret is.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use serde::Serialize;

use super::{
    names,
    reading::Reading,
    section::Section,
    tree::{Origin, Raw, Table},
};

/// Where a secret is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    File(PathBuf),
    /// A systemd credential: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// Whether a configuration is loaded with its secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Secrets {
    /// Each secret is read from where it is; one that cannot be read is a fault.
    Read,
    /// For whoever asks Cal.com nothing: where the secrets are is checked for its form, and nobody looks there.
    LeftAlone,
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "the environment variable {name}"),
            Self::File(path) => write!(f, "the file {}", path.display()),
            Self::Credential(name) => write!(f, "the systemd credential {name}"),
        }
    }
}

const PLACES: [&str; 3] = ["env", "file", "credential"];
const FORM: &str = "write { env = \"NAME\" }, { file = \"path\" } or { credential = \"name\" }";
/// Far above any secret, and small enough to read whatever was named by mistake.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// The secret that `name` says the whereabouts of.
pub(super) fn read(
    section: &Section<'_>,
    name: &str,
    reading: &mut Reading<'_>,
) -> Option<(SecretString, SecretSource)> {
    let key = section.key(name);
    let Some(node) = section.node(name) else {
        reading.fault(&section.origin, key, "is missing", FORM);
        return None;
    };
    match &node.raw {
        Raw::Table(table) => from_table(table, &node.origin, key, &called(name), reading),
        Raw::Text(_) => {
            let message = "must not stand in this file, which tends to be copied and committed";
            reading.fault(&node.origin, key, message, FORM);
            None
        }
        other => {
            reading.fault(
                &node.origin,
                key,
                format!("must say where the secret is, not be {}", other.kind()),
                FORM,
            );
            None
        }
    }
}

fn from_table(
    table: &Table,
    origin: &Origin,
    key: String,
    called: &str,
    reading: &mut Reading<'_>,
) -> Option<(SecretString, SecretSource)> {
    let section = Section {
        path: key.clone(),
        table: Some(table),
        origin: origin.clone(),
    };
    names::refuse_unknown(&section, "clients.secret", &PLACES, reading);
    let given: Vec<_> = PLACES
        .into_iter()
        .filter(|place| table.get(place).is_some())
        .collect();
    let place = match given.as_slice() {
        [place] => *place,
        [] => {
            // An unknown key was reported already.
            if table.0.is_empty() {
                reading.fault(origin, key, "says nothing", FORM);
            }
            return None;
        }
        _ => {
            reading.fault(
                origin,
                key,
                format!("says both {}", given.join(" and ")),
                "keep one of them",
            );
            return None;
        }
    };
    let said = section.text(place, reading)?;
    if place == "env" && !is_variable_name(&said.value) {
        // Not shown: it may be the secret itself.
        let message = "env must be the name of an environment variable";
        let remedy = "the secret is that variable's value";
        reading.fault(&said.origin, key, message, remedy);
        return None;
    }
    let source = match place {
        "env" => SecretSource::Env(said.value),
        "file" => SecretSource::File(reading.resolve(&said.value)),
        _ => SecretSource::Credential(said.value),
    };
    if let SecretSource::Credential(name) = &source
        && (name.contains('/') || matches!(name.as_str(), "." | ".."))
    {
        let message = format!("{name:?} is no credential's name");
        let remedy = "write the name alone, as in LoadCredential=name:path";
        reading.fault(&said.origin, key, message, remedy);
        return None;
    }
    if reading.secrets == Secrets::LeftAlone {
        return Some((SecretString::default(), source));
    }
    let found = match &source {
        SecretSource::Env(name) => from_variable(name, called, reading),
        SecretSource::File(path) => {
            let found = from_file(path, called);
            if found.is_ok() {
                reading.warn_if_open(path, &said.origin, &key, "");
            }
            found
        }
        SecretSource::Credential(name) => from_credential(name, called, reading),
    };
    let found = found.and_then(|secret| match unfit(&secret) {
        None => Ok(secret),
        Some(why) => Err((
            format!("{source} {why}"),
            format!("copy {called} anew, and nothing else"),
        )),
    });
    match found {
        Ok(secret) => Some((SecretString::from(secret), source)),
        Err((message, remedy)) => {
            reading.fault(&said.origin, key, message, remedy);
            None
        }
    }
}

/// What remedies call the secret of a key.
fn called(name: &str) -> String {
    match name {
        "secret" => "the client's secret".to_owned(),
        name => format!("the {}", name.replace('_', " ")),
    }
}

fn is_variable_name(name: &str) -> bool {
    !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'_')
}

type Found = Result<String, (String, String)>;

fn from_variable(name: &str, called: &str, reading: &Reading<'_>) -> Found {
    match reading.environment.get(name) {
        Some(value) => value.to_str().map(str::to_owned).ok_or_else(|| {
            (
                format!("the environment variable {name} is not UTF-8"),
                format!("set it to {called}"),
            )
        }),
        None => Err((
            format!("the environment variable {name} is unset or empty"),
            format!("set it to {called}"),
        )),
    }
}

fn from_credential(name: &str, called: &str, reading: &Reading<'_>) -> Found {
    match reading.environment.credentials_directory() {
        Some(directory) => from_file(&directory.join(name), called).map_err(|(message, _)| {
            let remedy = format!(
                "LoadCredential={name}:/path/of/the/secret in the unit must name a file with {called} in it"
            );
            (message, remedy)
        }),
        None => Err((
            "CREDENTIALS_DIRECTORY is not set, so systemd passed no credentials".to_owned(),
            format!("add LoadCredential={name}:/path/of/the/secret to the unit"),
        )),
    }
}

fn from_file(path: &Path, called: &str) -> Found {
    let cannot = |error: io::Error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => format!(
                "write {called} into it; a relative path is relative to the directory of the configuration file"
            ),
            io::ErrorKind::PermissionDenied => "let the user that calmirror runs as read it".to_owned(),
            _ => format!("name a file with {called} in it"),
        };
        (format!("{} cannot be read: {error}", path.display()), remedy)
    };
    let another = || format!("name a file with {called} in it, and nothing else");
    let metadata = fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() && !metadata.is_dir() {
        // A pipe would keep the program waiting.
        return Err((format!("{} is no regular file", path.display()), another()));
    }
    if metadata.is_file() && metadata.len() > MAX_SECRET_BYTES {
        return Err((format!("{} is too large for a secret", path.display()), another()));
    }
    let text = fs::read_to_string(path).map_err(cannot)?;
    let text = text.trim_end_matches(['\n', '\r']);
    if text.is_empty() {
        return Err((
            format!("{} is empty", path.display()),
            format!("write {called} into it"),
        ));
    }
    Ok(text.to_owned())
}

/// Why a secret could not be sent as a header as it is.
fn unfit(secret: &str) -> Option<&'static str> {
    if secret.trim() != secret {
        Some("begins or ends with white space")
    } else if !secret.bytes().all(|c| (b' '..=b'~').contains(&c)) {
        Some("holds a character that no secret has, such as a line break")
    } else {
        None
    }
}
