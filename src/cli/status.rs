//! `calmirror status`: how fresh the mirror is.

use serde_json::json;

use super::{
    Out, Output,
    exit::Exit,
    mirror::Database,
    table::{ago, aligned},
};
use crate::{
    config::Config,
    store::{ClientStatus, RejectStatus, Store},
};

/// A screen's worth; the table `rejects` has them all.
const MAX_REJECTS: u32 = 20;

pub(super) async fn run(config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let database = Database::open(&config.database).await?;
    let result = read(&database.store).await;
    let psql = database.psql_command();
    database.close().await;
    let (clients, rejects) = result?;
    // A client that is configured but never had a pass is as much a part of the answer.
    let waiting: Vec<&str> = config
        .clients
        .iter()
        .filter(|client| {
            clients
                .iter()
                .all(|status| status.client_id != client.id.as_str())
        })
        .map(|client| client.name.as_str())
        .collect();
    match out.format {
        Output::Json => {
            out.json(&json!({ "clients": clients, "never_passed": waiting, "rejects": rejects }))?;
        }
        Output::Text => print(&clients, &waiting, &rejects, psql, out)?,
    }
    Ok(Exit::Success)
}

async fn read(store: &Store) -> Result<(Vec<ClientStatus>, Vec<RejectStatus>), crate::store::Error> {
    store.pending_migrations().await?;
    Ok((store.status().await?, store.rejects(MAX_REJECTS).await?))
}

fn print(
    clients: &[ClientStatus],
    waiting: &[&str],
    rejects: &[RejectStatus],
    psql: Option<String>,
    out: &mut Out,
) -> anyhow::Result<()> {
    let headings = [
        "client",
        "mirror",
        "lag",
        "live",
        "removed",
        "missing",
        "rejects",
        "last pass",
        "run",
    ];
    let name = |client: &ClientStatus| {
        let alike = clients
            .iter()
            .filter(|other| other.client == client.client)
            .count();
        // A client whose id was mistyped once has left a row of the same name.
        if alike > 1 {
            format!("{} ({})", client.client, client.client_id)
        } else {
            client.client.clone()
        }
    };
    let rows = clients.iter().map(|client| {
        [
            name(client),
            client.verdict.clone(),
            client.lag_s.map_or_else(|| "-".to_owned(), ago),
            client.live_users.to_string(),
            client.removed_users.to_string(),
            client.missing_users.to_string(),
            client.rejects.to_string(),
            client
                .last_outcome
                .clone()
                .unwrap_or_else(|| "running".to_owned()),
            client.last_run_id.to_string(),
        ]
    });
    let never = waiting.iter().map(|name| {
        let mut row = [""; 9].map(str::to_owned);
        row[0] = (*name).to_owned();
        row[1] = "never".to_owned();
        row[2] = "-".to_owned();
        row
    });
    out.line(aligned(headings, rows.chain(never)))?;
    for client in clients {
        if let Some(error) = &client.last_error {
            out.line(format_args!("\n{}: {error}", name(client)))?;
        }
    }
    if !rejects.is_empty() {
        out.line("\nrecords that cannot be mirrored:")?;
        let rows = rejects
            .iter()
            .map(|r| [r.client.clone(), r.user_id.to_string(), r.reason.clone()]);
        out.line(aligned(["client", "user", "reason"], rows))?;
    }
    if let Some(psql) = psql {
        out.line(format_args!(
            "\nwhile calmirror runs, the database is open to: {psql}"
        ))?;
    }
    Ok(())
}
