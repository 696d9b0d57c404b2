//! The status for people.

use std::{collections::BTreeMap, fmt::Write as _};

use chrono::{DateTime, Utc};

use super::{Client, Status};
use crate::{
    cli::{
        Out,
        table::{ago, aligned, wrapped},
    },
    store::{ClientStatus, ExtraField, HeldStatus, RejectStatus, RetentionStatus, Waiting, WatchStatus},
};

pub(super) fn print(status: &Status, psql: Option<String>, out: &mut Out) -> anyhow::Result<()> {
    print_table(status, out)?;
    for client in &status.clients {
        let name = name(client, &status.clients);
        for paragraph in paragraphs(client, status.confirmations_needed) {
            out.line(format_args!(
                "\n{}",
                wrapped("    ", &format!("{name}: {paragraph}"))
            ))?;
        }
        if let Some(held) = &client.held {
            print_held(&name, held, out)?;
        }
    }
    print_rejects(status, out)?;
    print_fields(&status.extra_fields, out)?;
    if let Some(retention) = &status.retention {
        print_retention(retention, out)?;
    }
    if let Some(psql) = psql {
        out.line(format_args!(
            "\nwhile calmirror runs, the database is open to: {psql}"
        ))?;
    }
    Ok(())
}

fn print_table(status: &Status, out: &mut Out) -> anyhow::Result<()> {
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
    let rows = status.clients.iter().map(|client| {
        let name = name(client, &status.clients);
        let Client {
            status: client,
            watch,
            ..
        } = client;
        [
            name,
            client.verdict.clone(),
            client.lag_s.map_or_else(|| "-".to_owned(), ago),
            client.live_users.to_string(),
            client.removed_users.to_string(),
            watch.missing_users.to_string(),
            client.rejects.to_string(),
            client
                .last_outcome
                .clone()
                .unwrap_or_else(|| "running".to_owned()),
            client.last_run_id.to_string(),
        ]
    });
    let never = status.never_passed.iter().map(|name| {
        let mut row = [""; 9].map(str::to_owned);
        row[0].clone_from(name);
        row[1] = "never".to_owned();
        row[2] = "-".to_owned();
        row
    });
    out.line(aligned(headings, rows.chain(never)))
}

fn name(client: &Client, all: &[Client]) -> String {
    let name = &client.status.client;
    let alike = all.iter().filter(|other| other.status.client == *name).count();
    // A client whose id was mistyped once has left a row of the same name.
    if alike > 1 {
        format!("{name} ({})", client.status.client_id)
    } else {
        name.clone()
    }
}

/// What is to be said of a client beyond its numbers.
fn paragraphs(client: &Client, confirmations_needed: u32) -> Vec<String> {
    let Client {
        status,
        configured,
        watch,
        held: _,
    } = client;
    let mut paragraphs = Vec::new();
    paragraphs.extend(running(status));
    paragraphs.extend(status.last_error.clone());
    if !configured {
        let live = status.live_users;
        paragraphs.push(format!(
            "not configured, so no pass is made over it and its verdict turns stale by itself; its {live} live users \
             stay as they are"
        ));
        return paragraphs;
    }
    let WatchStatus {
        unwatched_users,
        unwatched,
        forgotten_users,
        forgotten,
        missing_users: _,
        waiting_users,
        waiting,
        never_mirrored_users,
        never_mirrored,
    } = watch;
    if *waiting_users > 0 {
        paragraphs.push(not_removed_yet(waiting, *waiting_users, confirmations_needed));
    }
    if *never_mirrored_users > 0 {
        let users = listed(never_mirrored, *never_mirrored_users);
        paragraphs.push(format!("configured, but not the client's at Cal.com: {users}"));
    }
    if *unwatched_users > 0 {
        let users = listed(unwatched, *unwatched_users);
        paragraphs.push(format!(
            "no longer watched, and left as they are ({unwatched_users}): {users}"
        ));
    }
    if *forgotten_users > 0 {
        let users = listed(forgotten, *forgotten_users);
        paragraphs.push(format!(
            "forgotten but still watched: {users}; take them out of the configuration"
        ));
    }
    paragraphs
}

/// Some candidates for removal of so many, by how often Cal.com said that they are gone.
fn not_removed_yet(first: &[Waiting], all: i64, needed: u32) -> String {
    let mut by_count: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for Waiting {
        user_id,
        confirmations,
    } in first
    {
        by_count
            .entry(*confirmations)
            .or_default()
            .push(user_id.to_string());
    }
    let mut parts: Vec<String> = by_count
        .into_iter()
        .map(|(said, users)| {
            let users = users.join(", ");
            // One that was held for long has more than it needs.
            if i64::from(said) > i64::from(needed) {
                format!("gone in {said} passes, {needed} needed, not removed yet: {users}")
            } else {
                format!("gone in {said} of {needed} passes, not removed yet: {users}")
            }
        })
        .collect();
    let more = all.saturating_sub(first.len() as i64);
    if more > 0 {
        parts.push(format!("and {more} more"));
    }
    parts.join("; ")
}

fn running(status: &ClientStatus) -> Option<String> {
    let (None, Some(started)) = (&status.last_outcome, status.last_started_at) else {
        return None;
    };
    let mut text = format!(
        "run {} is under way since {}",
        status.last_run_id,
        instant(started)
    );
    if let Some(seconds) = status.last_started_s {
        write!(text, " ({})", ago(seconds)).ok()?;
    }
    if let Some(run) = status.last_resumes {
        write!(text, ", going on from run {run}").ok()?;
    }
    if let Some(alive) = status.last_heartbeat_at {
        write!(text, ", and last showed that it is alive at {}", instant(alive)).ok()?;
    }
    if let Some(observed) = status.last_observed {
        let (requests, changes) = (
            status.last_requests.unwrap_or(0),
            status.last_changes.unwrap_or(0),
        );
        let of = |planned: Option<i64>| planned.map_or_else(String::new, |planned| format!(" of {planned}"));
        write!(
            text,
            "; so far {observed}{} users observed, {requests}{} requests made{}, {changes} changes written",
            of(status.last_planned_users),
            of(status.last_planned_requests),
            status
                .last_fetch_plan
                .as_deref()
                .map_or_else(String::new, |plan| format!(" by {plan}")),
        )
        .ok()?;
    }
    Some(text)
}

fn print_held(name: &str, held: &HeldStatus, out: &mut Out) -> anyhow::Result<()> {
    let why = match held.reason.as_str() {
        "limit" => "more than a pass may remove",
        "everyone" => "all of them",
        "no_control" => "no other user of the client answered",
        other => other,
    };
    let text = format!(
        "{name}: {} of {} live users would be removed ({why}); held since {}: {}",
        held.users,
        held.live,
        instant(held.held_since),
        listed(&held.first_users, held.users)
    );
    out.line(format_args!("\n{}", wrapped("    ", &text)))?;
    // On a line of its own, to be copied.
    out.line("    look into Cal.com; if they are really gone:")?;
    out.line(format_args!("    calmirror approve {}", held.run_id))
}

fn print_rejects(status: &Status, out: &mut Out) -> anyhow::Result<()> {
    if status.rejects.is_empty() {
        return Ok(());
    }
    out.line("\nrecords that cannot be mirrored:")?;
    let rows = status.rejects.iter().map(|reject| {
        [
            reject.client.clone(),
            reject.user_id.to_string(),
            instant(reject.first_seen_at),
            fields_at_fault(reject),
        ]
    });
    let table = aligned(["client", "user", "since", "at fault"], rows);
    let mut lines = table.lines();
    if let Some(headings) = lines.next() {
        out.line(headings)?;
    }
    for (line, reject) in lines.zip(&status.rejects) {
        out.line(line)?;
        out.line(wrapped("    ", &format!("    {}", reject.reason)))?;
    }
    let all: i64 = status.clients.iter().map(|client| client.status.rejects).sum();
    let more = all.saturating_sub(status.rejects.len() as i64);
    if more > 0 {
        out.line(format_args!("and {more} more, in the table rejects"))?;
    }
    Ok(())
}

/// The reason names them all.
fn fields_at_fault(reject: &RejectStatus) -> String {
    const SHOWN: usize = 4;
    match reject.fields.as_slice() {
        [] => "the record as a whole".to_owned(),
        fields if fields.len() > SHOWN => {
            format!("{} and {} more", fields[..SHOWN].join(", "), fields.len() - SHOWN)
        }
        fields => fields.join(", "),
    }
}

fn print_fields(fields: &[ExtraField], out: &mut Out) -> anyhow::Result<()> {
    if fields.is_empty() {
        return Ok(());
    }
    out.line("\nfields that this version does not know, mirrored in extra:")?;
    for field in fields {
        out.line(wrapped(
            "        ",
            &format!(
                "    {} (since {}, run {})",
                field.field.escape_debug(),
                instant(field.first_seen_at),
                field.run_id
            ),
        ))?;
    }
    Ok(())
}

fn print_retention(retention: &RetentionStatus, out: &mut Out) -> anyhow::Result<()> {
    let mut text = match retention.finished_at {
        Some(at) => format!("retention: last done at {}", instant(at)),
        None => format!(
            "retention: under way, or cut, since {}, and last seen at {}",
            instant(retention.started_at),
            instant(retention.heartbeat_at)
        ),
    };
    write!(
        text,
        ": {} runs, {} rejects and {} versions deleted",
        retention.deleted_runs, retention.deleted_rejects, retention.deleted_versions
    )?;
    if retention.users_in_doubt > 0 {
        let users = retention.users_in_doubt;
        write!(
            text,
            "; {users} users' ledger has a fault and was not folded: run `calmirror verify`"
        )?;
    }
    if let Some(from) = retention.history_from {
        write!(text, "; history is whole from {} on", instant(from))?;
    }
    out.line(format_args!("\n{}", wrapped("    ", &text)))
}

/// Some ids of so many.
fn listed(first: &[i64], all: i64) -> String {
    let ids: Vec<String> = first.iter().map(i64::to_string).collect();
    let ids = ids.join(", ");
    match all.saturating_sub(first.len() as i64) {
        ..=0 => ids,
        more => format!("{ids}, and {more} more"),
    }
}

fn instant(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}
