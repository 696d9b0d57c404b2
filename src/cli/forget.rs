//! `calmirror forget USER`: erases a person.

use serde::Serialize;

use super::{Out, Output, argument, exit::Exit, mirror::Database};
use crate::{
    config::Config,
    model::UserId,
    store::{Error, Forgotten, Store},
    sync::with_retries,
};

/// Erase all that the mirror holds of one user, for good
#[derive(Clone, Debug, clap::Args)]
pub struct ForgetArgs {
    /// The managed user's id
    #[arg(value_name = "USER", value_parser = argument::id, allow_negative_numbers = true)]
    user: i64,
}

/// As `--output json` prints it.
#[derive(Debug, Serialize)]
struct Answer<'a> {
    #[serde(flatten)]
    forgotten: &'a Forgotten,
    /// The clients for which the configuration still lists the user, by name.
    watched_by: &'a [&'a str],
}

pub(super) async fn run(args: &ForgetArgs, config: Config, out: &mut Out) -> anyhow::Result<Exit> {
    let user = UserId(args.user);
    let mut database = Database::open(&config.database).await?;
    database.tell_as(&config.notify);
    let result = forget(&database.store, user).await;
    database.close().await;
    let watched_by: Vec<&str> = config
        .clients
        .iter()
        .filter(|client| client.watch.listed.contains(user))
        .map(|client| client.name.as_str())
        .collect();
    let Some(forgotten) = result? else {
        let listed = still_listed(user, &watched_by).map_or_else(String::new, |listed| format!(" {listed}"));
        anyhow::bail!("nothing is known of user {user}, so nothing was done; is it another id?{listed}");
    };
    if !forgotten.already || erased_anything(&forgotten) {
        tracing::info!(user.id = user.0, "user forgotten");
    }
    match out.format {
        Output::Json => out.json(&Answer {
            forgotten: &forgotten,
            watched_by: &watched_by,
        })?,
        Output::Text => {
            print(&forgotten, out)?;
            if let Some(listed) = still_listed(user, &watched_by) {
                out.line(listed)?;
            }
        }
    }
    Ok(Exit::Success)
}

async fn forget(store: &Store, user: UserId) -> Result<Option<Forgotten>, Error> {
    store.pending_migrations().await?;
    with_retries(|| store.forget(user)).await
}

fn erased_anything(forgotten: &Forgotten) -> bool {
    let Forgotten {
        user_id: _,
        forgotten_at: _,
        already: _,
        rows,
        versions,
        rejects,
        missing,
        held_sets,
        errors,
    } = *forgotten;
    [rows, versions, rejects, missing, held_sets, errors]
        .iter()
        .any(|count| *count > 0)
}

fn still_listed(user: UserId, clients: &[&str]) -> Option<String> {
    (!clients.is_empty()).then(|| {
        format!(
            "the configuration still lists user {user} for {}: take it out there",
            clients.join(", ")
        )
    })
}

fn print(forgotten: &Forgotten, out: &mut Out) -> anyhow::Result<()> {
    let user = forgotten.user_id;
    let time = forgotten.forgotten_at.format("%Y-%m-%d %H:%M:%SZ");
    let erased = [
        (forgotten.rows, "row", "rows"),
        (forgotten.versions, "version", "versions"),
        (forgotten.rejects, "reject", "rejects"),
        (
            forgotten.missing,
            "candidate for removal",
            "candidates for removal",
        ),
        (
            forgotten.held_sets,
            "held set of removals",
            "held sets of removals",
        ),
    ];
    let erased: Vec<String> = erased
        .into_iter()
        .filter(|(count, ..)| *count > 0)
        .map(|(count, one, many)| format!("{count} {}", if count == 1 { one } else { many }))
        .collect();
    let erased = erased.join(", ");
    match (forgotten.already, erased.is_empty()) {
        (false, _) => out.line(format_args!("user {user} is forgotten; erased: {erased}")),
        (true, true) => out.line(format_args!("user {user} was forgotten on {time}")),
        (true, false) => out.line(format_args!(
            "user {user} was forgotten on {time}; what had come back is erased: {erased}"
        )),
    }
}
