//! `calmirror migrate`: the database's tables, brought up to this version.

use serde_json::json;

use super::{Out, Output, exit::Exit, mirror::Database};
use crate::config::Config;

pub(super) async fn run(config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let database = Database::open(&config.database).await?;
    let result = database.store.migrate().await;
    let schema = database.store.schema().to_owned();
    database.close().await;
    let applied = result?;
    match out.format {
        Output::Json => out.json(&json!({ "schema": schema, "applied": applied }))?,
        Output::Text if applied == 0 => out.line(format_args!("schema {schema} is up to date"))?,
        Output::Text => out.line(format_args!("schema {schema}: {applied} migrations applied"))?,
    }
    Ok(Exit::Success)
}
