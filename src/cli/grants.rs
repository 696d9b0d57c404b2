//! `calmirror grants`: the roles, and what each may do.

use serde::Serialize;

use super::{
    Out, Output,
    exit::{Exit, Misuse},
};
use crate::{
    config::Config,
    store::{Grants, Roles},
};

/// Print the SQL for three roles that may do no more than they have to
#[derive(Clone, Debug, clap::Args)]
pub struct GrantsArgs {
    /// The role that owns the tables
    #[arg(long, value_name = "NAME", default_value = "calmirror_migrator")]
    migrator: String,

    /// The role that makes passes
    #[arg(long, value_name = "NAME", default_value = "calmirror_daemon")]
    daemon: String,

    /// The role that analysts have
    #[arg(long, value_name = "NAME", default_value = "calmirror_reader")]
    reader: String,

    /// Let the daemon fold and delete what is old in the ledger
    #[arg(long)]
    with_ledger_retention: bool,
}

/// As `--output json` prints it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    schema: &'a str,
    migrator: &'a str,
    daemon: &'a str,
    reader: &'a str,
    /// In their order, from `begin` to `commit`.
    statements: Vec<String>,
}

pub(super) fn run(args: &GrantsArgs, config: &Config, out: &mut Out) -> anyhow::Result<Exit> {
    let roles = Roles {
        migrator: args.migrator.clone(),
        daemon: args.daemon.clone(),
        reader: args.reader.clone(),
    };
    let grants = Grants::new(&config.database.schema, roles, args.with_ledger_retention)
        .map_err(|error| Misuse(error.to_string()))?;
    match out.format {
        Output::Text => out.line(grants.script().trim_end())?,
        Output::Json => out.json(&Answer {
            schema: grants.schema(),
            migrator: &grants.roles().migrator,
            daemon: &grants.roles().daemon,
            reader: &grants.roles().reader,
            statements: grants.statements(),
        })?,
    }
    Ok(Exit::Success)
}
