//! `calmirror init`: a commented configuration, from what the operator says of one client.

mod template;
#[cfg(test)]
mod tests;

use std::{
    fs::{self, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use serde::Serialize;

use super::argument;
use crate::config::{self, Config, Environment, Fault, Faults, Place, SecretSource, Secrets};

const DEFAULT_PATH: &str = "config.toml";

/// Write a configuration from a client id and its secret's whereabouts, and check it
#[derive(Clone, Debug, clap::Args)]
pub struct InitArgs {
    /// The OAuth client's id, as Cal.com shows it
    #[arg(long, value_name = "ID")]
    pub client_id: String,

    #[command(flatten)]
    pub secret: SecretArgs,

    /// Ids of the managed users to mirror, separated by commas
    #[arg(long, value_name = "IDS", value_delimiter = ',', value_parser = argument::id)]
    pub users: Vec<i64>,

    /// Mirror all users that Cal.com lists: 500 at most, or all of an organisation
    #[arg(long, conflicts_with = "users")]
    pub all: bool,

    /// The organisation whose list of users is read for --all
    #[arg(long, value_name = "ID", requires = "all", value_parser = argument::id)]
    pub organization: Option<i64>,

    /// File of user ids, one a line or a CSV with a column `user_id` and perhaps `email`; relative to
    /// the configuration
    #[arg(long, value_name = "FILE", conflicts_with = "users")]
    pub users_file: Option<String>,

    /// Address of Cal.com's API, without /v2
    #[arg(long, value_name = "URL")]
    pub base_url: Option<String>,

    /// Postgres to mirror into, or "embedded"
    #[arg(long, value_name = "URL")]
    pub database_url: Option<String>,

    /// What logs and `--client` call the client
    #[arg(long, value_name = "NAME", default_value = "main")]
    pub name: String,

    /// File to write; --config does as well
    #[arg(long, value_name = "FILE", default_value = DEFAULT_PATH)]
    pub path: PathBuf,

    /// Overwrite the file if it exists
    #[arg(long)]
    pub force: bool,

    /// Write the file and do no more
    #[arg(long)]
    pub no_check: bool,
}

impl InitArgs {
    /// Whether it is said which users are to be mirrored.
    pub fn says_who(&self) -> bool {
        !self.users.is_empty() || self.users_file.is_some() || self.all
    }

    /// The same, for the file that the other commands are to read, unless `--path` names one.
    #[must_use]
    pub fn writing_to(mut self, config: Option<&Path>) -> Self {
        if let Some(config) = config
            && self.path == Path::new(DEFAULT_PATH)
        {
            self.path = config.to_owned();
        }
        self
    }
}

/// Where the client's secret is: exactly one of these.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct SecretArgs {
    /// The secret is in this environment variable
    #[arg(long = "secret-env", value_name = "NAME")]
    pub env: Option<String>,

    /// The secret is in this file; relative to the configuration
    #[arg(long = "secret-file", value_name = "FILE", value_parser = argument::path())]
    pub file: Option<PathBuf>,

    /// The secret is this systemd credential
    #[arg(long = "secret-credential", value_name = "NAME")]
    pub credential: Option<String>,
}

impl SecretArgs {
    /// `None` only where clap was not asked to check.
    fn source(&self) -> Option<SecretSource> {
        let Self {
            env,
            file,
            credential,
        } = self;
        env.clone()
            .map(SecretSource::Env)
            .or_else(|| file.clone().map(SecretSource::File))
            .or_else(|| credential.clone().map(SecretSource::Credential))
    }
}

/// The first line with `--output json`; those of `check` follow where it is made.
#[derive(Clone, Debug, Serialize)]
pub struct Wrote {
    /// The file.
    pub wrote: String,
    /// Whether it says which users are meant; otherwise that is to be filled in.
    pub complete: bool,
}

/// Why no configuration was written.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("{} exists; --force overwrites it, --path FILE writes another", .0.display())]
    Exists(PathBuf),
    #[error("--secret-env, --secret-file or --secret-credential must say where the secret is")]
    NoSecret,
}

/// Writes the configuration, and gives it back where it is whole and to be checked against Cal.com and the database.
///
/// # Errors
///
/// When the file exists, when it cannot be written, or with the [`Faults`] of what was asked for. Faults that the file
/// does not decide (a secret that is not set yet, a file of users that is not there yet) come after it is written.
pub fn write(
    args: &InitArgs,
    out: &mut impl Write,
    environment: &Environment,
) -> anyhow::Result<Option<Config>> {
    let secret = args.secret.source().ok_or(InitError::NoSecret)?;
    let text = template::fill(args, &secret);
    let loaded = Config::parse(&text, &args.path, environment, Secrets::Read);
    if let Err(faults) = &loaded
        && faults.iter().any(|fault| !may_follow(fault))
    {
        let outcome = format!("{} is not written", args.path.display());
        return Err(anyhow::Error::new(faults.clone()).context(outcome));
    }
    store(args, &text)?;
    writeln!(out, "wrote {}", args.path.display())?;
    if !args.says_who() {
        writeln!(
            out,
            "fill in `users` or `users_file` of client \"{}\" in it, then run `calmirror check`",
            args.name
        )?;
        return only_users_are_missing(loaded.map(drop)).map(|()| None);
    }
    if args.no_check {
        return Ok(None);
    }
    let loaded = loaded.with_context(|| format!("{} is not ready to be used", args.path.display()))?;
    for warning in &loaded.warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(Some(loaded.config))
}

/// Whether a fault can be mended without another `init`: it lies in what the file refers to, or in the environment.
fn may_follow(fault: &Fault) -> bool {
    let key = fault.key.rsplit('.').next().unwrap_or_default();
    matches!(fault.place, Place::Variable(_)) || matches!(key, "users" | "users_file" | "secret")
}

/// An unset secret is worth no error while the file is unfinished anyway.
fn only_users_are_missing(loaded: Result<(), Faults>) -> anyhow::Result<()> {
    match loaded {
        Err(faults)
            if faults
                .iter()
                .any(|fault| matches!(fault.place, Place::Variable(_))) =>
        {
            Err(faults.into())
        }
        _ => Ok(()),
    }
}

fn store(args: &InitArgs, text: &str) -> anyhow::Result<()> {
    let holds_password = args.database_url.as_deref().is_some_and(config::holds_password);
    let mode = if holds_password { 0o600 } else { 0o644 };
    let written = if args.force {
        replace(&args.path, text, mode)
    } else {
        create(&args.path, text, mode)
    };
    match written {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !args.force => {
            Err(InitError::Exists(args.path.clone()).into())
        }
        written => written.with_context(|| format!("{} cannot be written", args.path.display())),
    }
}

fn create(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// By way of a file beside it, so that a full disk leaves the old one, and an old one's mode does not stay.
fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let beside = PathBuf::from(name);
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    create(&beside, text, mode)?;
    fs::rename(&beside, path)
}
