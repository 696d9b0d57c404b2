//! Which file is the configuration, and reading it.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use toml::de::DeTable;

use super::{
    Config, calcom, clients, database,
    environment::Environment,
    fault::{Fault, Faults, Place, Warning},
    log, names, notify, overrides,
    reading::Reading,
    removal, retention, schedule,
    secret::Secrets,
    section::Section,
    server,
    tree::{Origin, Table},
};

/// Where the configuration is looked for when nobody says.
const CANDIDATES: [&str; 2] = ["config.toml", "/etc/calmirror/config.toml"];
/// Recovery from one slip can find many more that are none.
const MAX_SYNTAX_FAULTS: usize = 10;

/// A configuration that can be used, and what an operator should know of it.
#[derive(Clone, Debug)]
pub struct Loaded {
    pub config: Config,
    pub warnings: Vec<Warning>,
}

/// There is no configuration file.
#[derive(Debug, thiserror::Error)]
#[error("no configuration found: neither {} exists; `calmirror init` writes one, `--config FILE` names another", CANDIDATES.join(" nor "))]
pub struct NotFound;

impl Config {
    /// The file to load: the one given, else the first of the usual ones that exists.
    ///
    /// # Errors
    /// Where none is given and none of the usual ones exists.
    pub fn find(explicit: Option<&Path>) -> Result<PathBuf, NotFound> {
        match explicit {
            Some(path) => Ok(path.to_owned()),
            None => first_existing(CANDIDATES.map(Path::new)).ok_or(NotFound),
        }
    }

    /// Reads, overrides and checks a configuration file.
    ///
    /// # Errors
    /// Every fault of the file, of the files it names, and of the variables that override it. Secrets that cannot be read are
    /// faults where they are wanted.
    pub fn load(path: &Path, environment: &Environment, secrets: Secrets) -> Result<Loaded, Faults> {
        let text = text_of(path)?;
        let mut reading = Reading::new(path, &text, environment, secrets);
        reading.is_on_disk = true;
        Self::judge(&text, reading)
    }

    /// Reads `server.listen` alone: none where there is no server. Neither faults elsewhere count nor what the file names, so that
    /// a running daemon is found while somebody edits its configuration.
    ///
    /// # Errors
    /// Where the file cannot be read, and faults of this key.
    pub fn listen(path: &Path, environment: &Environment) -> Result<Option<SocketAddr>, Faults> {
        let text = text_of(path)?;
        let mut reading = Reading::new(path, &text, environment, Secrets::LeftAlone);
        // What could be read in spite of slips.
        let (mut document, errors) = DeTable::parse_recoverable(&text);
        let from_section;
        if !errors.is_empty()
            && let Some(rest) = of_section_on(&text, "[server]")
        {
            // One that never ends, such as a list without its bracket, takes all that comes after it along.
            from_section = rest;
            (document, _) = DeTable::parse_recoverable(&from_section);
        }
        let mut root = Table::from(document.get_ref());
        overrides::apply(&mut root, &mut reading);
        let listen = server::read_listen(&root, &mut reading);
        if reading.faults.is_empty() {
            Ok(listen)
        } else {
            Err(Faults::new(reading.faults, path))
        }
    }

    /// Overrides and checks a configuration's text; `path` is what faults call it and what relative paths are
    /// relative to.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(
        text: &str,
        path: &Path,
        environment: &Environment,
        secrets: Secrets,
    ) -> Result<Loaded, Faults> {
        Self::judge(text, Reading::new(path, text, environment, secrets))
    }

    fn judge(text: &str, mut reading: Reading<'_>) -> Result<Loaded, Faults> {
        let (document, errors) = DeTable::parse_recoverable(text);
        let mut root = Table::from(document.get_ref());
        overrides::apply(&mut root, &mut reading);
        let config = read(&root, &mut reading);
        if !errors.is_empty() {
            // What was recovered is no ground for faults of the file; of the environment those stand that do
            // not depend on it.
            reading.faults.retain(|fault| {
                matches!(fault.place, Place::Variable(_)) && !fault.key.starts_with("clients")
            });
            for error in errors.iter().take(MAX_SYNTAX_FAULTS) {
                let origin = Origin::Byte(error.span().map_or(0, |span| span.start));
                reading.fault(&origin, "", error.message().replace('\n', ", "), "");
            }
        }
        if reading.faults.is_empty() {
            Ok(Loaded {
                config,
                warnings: reading.warnings,
            })
        } else {
            Err(Faults::new(reading.faults, reading.file))
        }
    }
}

/// The text with nothing before the line that begins so; what is left stays on its line.
fn of_section_on(text: &str, header: &str) -> Option<String> {
    let mut begin = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(header) {
            let breaks = text[..begin].bytes().filter(|byte| *byte == b'\n').count();
            return Some("\n".repeat(breaks) + &text[begin..]);
        }
        begin += line.len();
    }
    None
}

fn text_of(path: &Path) -> Result<String, Faults> {
    let whole = |message: String, remedy: &str| {
        let fault = Fault {
            place: Place::File(path.to_owned()),
            key: String::new(),
            message,
            remedy: remedy.to_owned(),
        };
        Faults::new(vec![fault], path)
    };
    let bytes = fs::read(path).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::NotFound => "`calmirror init` writes one",
            io::ErrorKind::PermissionDenied => {
                "let the user who runs this read it, or run this as another user"
            }
            io::ErrorKind::IsADirectory => "--config names a file",
            _ => "",
        };
        whole(format!("cannot be read: {error}"), remedy)
    })?;
    String::from_utf8(bytes).map_err(|_| whole("is not UTF-8".to_owned(), "save it as plain text"))
}

fn read(root: &Table, reading: &mut Reading<'_>) -> Config {
    let sections = names::SECTIONS.map(|(name, _)| name);
    let top = Section {
        path: String::new(),
        table: Some(root),
        origin: Origin::Nowhere,
    };
    names::refuse_unknown(&top, "", &sections, reading);
    let calcom = calcom::read(root, reading);
    let database = database::read(root, reading);
    let schedule = schedule::read(root, reading);
    let removal = removal::read(root, reading);
    let retention = retention::read(root, reading);
    let log = log::read(root, reading);
    let server = server::read(root, reading);
    let notify = notify::read(root, reading);
    let clients = clients::read(root, &calcom, &schedule, reading);
    Config {
        calcom,
        database,
        schedule,
        removal,
        retention,
        log,
        server,
        notify,
        clients,
    }
}

fn first_existing<const N: usize>(candidates: [&Path; N]) -> Option<PathBuf> {
    candidates
        .into_iter()
        .find(|path| path.exists())
        .map(Path::to_owned)
}
