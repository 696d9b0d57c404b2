//! `[database]`.

use std::path::PathBuf;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::{
    Database, DatabaseUrl,
    difference::is_same_url,
    environment::Environment,
    reading::Reading,
    section::{Said, Section},
    tree::{Origin, Table},
};

pub(super) const KEYS: [&str; 5] = ["url", "schema", "data_dir", "max_connections", "pgbouncer"];

pub(super) const EMBEDDED: &str = "embedded";
const SCHEMA: &str = "public";
/// A pass writes over one connection; the others serve what looks on.
const MAX_CONNECTIONS: u32 = 5;
/// Postgres cuts longer names off (`NAMEDATALEN - 1`).
const MAX_NAME_BYTES: usize = 63;

impl Database {
    /// Whether both are kept by the same server, and reached as the same user.
    pub fn is_at(&self, other: &Self) -> bool {
        is_same_url(&self.url, &other.url)
    }

    /// Whether both are the same in every way.
    pub fn is_same(&self, other: &Self) -> bool {
        self.is_at(other)
            && (&self.schema, self.max_connections, self.pgbouncer)
                == (&other.schema, other.max_connections, other.pgbouncer)
    }
}

impl DatabaseUrl {
    /// The address without its password, fit to be shown.
    pub fn masked(&self) -> String {
        let url = match self {
            Self::Embedded { .. } => return EMBEDDED.to_owned(),
            Self::Postgres(url) => url.expose_secret(),
        };
        match Url::parse(url) {
            Ok(mut url) => {
                if url.password().is_some() && url.set_password(Some("***")).is_err() {
                    return "postgres://***".to_owned();
                }
                if url.query().is_some() {
                    let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
                    url.query_pairs_mut().clear().extend_pairs(
                        pairs
                            .iter()
                            .map(|(key, value)| (key, if is_password(key) { "***" } else { value.as_str() })),
                    );
                }
                url.into()
            }
            Err(_) => "postgres://***".to_owned(),
        }
    }

    /// Whether the address itself holds a password.
    pub fn holds_password(&self) -> bool {
        match self {
            Self::Embedded { .. } => false,
            Self::Postgres(url) => holds_password(url.expose_secret()),
        }
    }
}

/// Whether a database address holds a password; also true for what cannot be read as one.
pub(crate) fn holds_password(url: &str) -> bool {
    Url::parse(url).map_or(true, |url| {
        url.password().is_some() || url.query_pairs().any(|(key, _)| is_password(&key))
    })
}

fn is_password(parameter: &str) -> bool {
    matches!(parameter, "password" | "sslpassword")
}

pub(super) fn read(root: &Table, reading: &mut Reading<'_>) -> Database {
    let section = Section::of(root, "database", &KEYS, reading);
    let url = section.text("url", reading);
    // Checked also where it is not used, so that a switch to embedded brings no surprise.
    let data_dir = section
        .text("data_dir", reading)
        .and_then(|said| data_dir(&said, &section, reading));
    Database {
        url: match url {
            Some(said) if said.value != EMBEDDED => {
                check_url(&said, &section, reading);
                warn_if_readable(&said, &section, reading);
                DatabaseUrl::Postgres(SecretString::from(said.value))
            }
            // Its fault is reported; where data would go is then no question.
            None if section.node("url").is_some() => DatabaseUrl::Embedded {
                data_dir: data_dir.unwrap_or_default(),
            },
            _ => DatabaseUrl::Embedded {
                data_dir: data_dir.unwrap_or_else(|| no_data_dir_given(&section, reading)),
            },
        },
        schema: section
            .text("schema", reading)
            .and_then(|said| schema(said, &section, reading))
            .unwrap_or_else(|| SCHEMA.to_owned()),
        max_connections: section.whole("max_connections", 1..=1000, MAX_CONNECTIONS, reading),
        pgbouncer: section.truth("pgbouncer", false, reading),
    }
}

fn data_dir(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<PathBuf> {
    if said.value.starts_with('~') {
        let remedy = "write the whole path";
        reading.fault(
            &said.origin,
            section.key("data_dir"),
            "~ is not expanded here",
            remedy,
        );
        return None;
    }
    Some(reading.resolve(&said.value))
}

fn no_data_dir_given(section: &Section<'_>, reading: &mut Reading<'_>) -> PathBuf {
    if section.node("data_dir").is_some() {
        // It was given and is at fault already.
        return PathBuf::new();
    }
    default_data_dir(reading.environment).unwrap_or_else(|| {
        let origin = section
            .node("url")
            .map_or_else(|| section.origin.clone(), |node| node.origin.clone());
        reading.fault(
            &origin,
            section.key("data_dir"),
            "no home directory is known to keep the embedded Postgres in",
            "set data_dir, or HOME",
        );
        PathBuf::new()
    })
}

/// Where the embedded Postgres keeps its data unless told.
pub(super) fn default_data_dir(environment: &Environment) -> Option<PathBuf> {
    if let Some(state) = environment.state_directory() {
        return Some(state.join("postgres"));
    }
    if environment.is_root() {
        return Some(PathBuf::from("/var/lib/calmirror/postgres"));
    }
    let data = environment
        .xdg_data_home()
        .or_else(|| environment.home().map(|home| home.join(".local/share")))?;
    Some(data.join("calmirror/postgres"))
}

fn schema(said: Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<String> {
    let name = said.value;
    let is_plain = name
        .bytes()
        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_')
        && !name.starts_with(|c: char| c.is_ascii_digit());
    let message = if name.starts_with("pg_") || name == "information_schema" {
        "is reserved by Postgres"
    } else if name.len() > MAX_NAME_BYTES {
        "is longer than the 63 bytes that Postgres allows"
    } else if !is_plain {
        "must be lower-case letters, digits and _, not beginning with a digit"
    } else {
        return Some(name);
    };
    reading.fault(&said.origin, section.key("schema"), message, "");
    None
}

/// A password that stands in the file itself is as secret as the file is.
fn warn_if_readable(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) {
    if reading.is_on_disk && matches!(said.origin, Origin::Byte(_)) && holds_password(&said.value) {
        let file = reading.file;
        reading.warn_if_open(
            file,
            &said.origin,
            &section.key("url"),
            ", which holds a password,",
        );
    }
}

/// The address may hold a password: no part of it goes into a message.
fn check_url(said: &Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) {
    const FORM: &str = "write \"postgres://user:password@host:5432/database\", or \"embedded\"";
    let (message, remedy) = match Url::parse(&said.value) {
        Err(url::ParseError::RelativeUrlWithoutBase) => {
            ("is neither a URL nor \"embedded\"".to_owned(), FORM)
        }
        Err(url::ParseError::InvalidPort) => (
            "has no valid port number".to_owned(),
            "a user or password with @ : / ? # or % in it must have them percent-encoded",
        ),
        Err(error) => (format!("is no URL: {error}"), FORM),
        Ok(url) if !matches!(url.scheme(), "postgres" | "postgresql") => {
            ("must begin with postgres:// or postgresql://".to_owned(), FORM)
        }
        Ok(url) if url.cannot_be_a_base() => ("must begin with postgres://".to_owned(), FORM),
        Ok(url)
            if url.host_str().is_none_or(str::is_empty)
                && !url.query_pairs().any(|(key, _)| key == "host") =>
        {
            (
                "names no host".to_owned(),
                "write it after the //, or a socket's directory as ?host=/run/postgresql",
            )
        }
        Ok(url) if url.fragment().is_some() => (
            "has a # in it".to_owned(),
            "write it as %23 if it is part of the password",
        ),
        Ok(_) => return,
    };
    let remedy = match &said.origin {
        Origin::Variable(name) if name == "DATABASE_URL" => {
            format!("{remedy}; DATABASE_URL counts more than the file")
        }
        _ => remedy.to_owned(),
    };
    reading.fault(&said.origin, section.key("url"), message, remedy);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_masked_wherever_they_stand() {
        for (url, expected) in [
            ("postgres://u:hunter2@h:5432/db", "postgres://u:***@h:5432/db"),
            ("postgres://u@h/db", "postgres://u@h/db"),
            (
                "postgres://h/db?password=hunter2&sslmode=require",
                "postgres://h/db?password=***&sslmode=require",
            ),
        ] {
            let database = DatabaseUrl::Postgres(SecretString::from(url));
            assert_eq!(database.masked(), expected);
            assert_eq!(database.holds_password(), url.contains("hunter2"));
            assert!(!format!("{database:?}").contains("hunter2"));
        }
    }

    #[test]
    fn the_data_directory_follows_the_host_s_customs() {
        let of = |environment: &Environment| {
            default_data_dir(environment).map(|path| path.to_str().expect("plain").to_owned())
        };
        let environment = Environment::from_pairs([("STATE_DIRECTORY", "/s/a:/s/b"), ("HOME", "/h")]);
        assert_eq!(of(&environment).as_deref(), Some("/s/a/postgres"));
        let environment = Environment::from_pairs([("HOME", "/h")]);
        assert_eq!(
            of(&environment).as_deref(),
            Some("/h/.local/share/calmirror/postgres")
        );
        assert_eq!(
            of(&environment.as_root()).as_deref(),
            Some("/var/lib/calmirror/postgres")
        );
        let environment = Environment::from_pairs([("HOME", "/h"), ("XDG_DATA_HOME", "/x")]);
        assert_eq!(of(&environment).as_deref(), Some("/x/calmirror/postgres"));
        assert_eq!(of(&Environment::default()), None);
    }
}
