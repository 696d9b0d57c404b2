//! The status for people.

use std::{collections::BTreeMap, fmt::Write as _};

use chrono::{DateTime, Utc};

use super::{Client, Status};
use crate::{
    cli::{
        out,
        table::{ago, aligned, lines, wrapped},
        terminal,
    },
    model::escape_hidden,
    store::{ClientStatus, ExtraField, HeldStatus, RejectStatus, RetentionStatus, Waiting, WatchStatus},
};

/// The whole of it. Columns are those of the terminal that it is for; nothing in it is wider than they are, but for commands.
pub(super) fn page(status: &Status, psql: Option<&str>, columns: Option<usize>) -> String {
    let mut page = Page {
        text: String::new(),
        columns,
    };
    page.table(status);
    for client in &status.clients {
        let name = name(client, &status.clients);
        for paragraph in paragraphs(client, status.confirmations_needed) {
            page.paragraph(&format!("{name}: {}", escape_hidden(&paragraph)));
        }
        if let Some(held) = &client.held {
            page.held(&name, held);
        }
    }
    page.rejects(status);
    page.fields(&status.extra_fields);
    if let Some(retention) = &status.retention {
        page.paragraph(&said_of_retention(retention));
    }
    if let Some(psql) = psql {
        page.line("\nwhile calmirror runs, the database is open to:");
        page.command(psql);
    }
    out::harmless(&page.text).into_owned()
}

struct Page {
    text: String,
    columns: Option<usize>,
}

impl Page {
    fn line(&mut self, line: &str) {
        match self.columns {
            Some(columns) => self.text.push_str(&terminal::fit(line, columns)),
            None => self.text.push_str(line),
        }
        self.text.push('\n');
    }

    /// After a blank line.
    fn paragraph(&mut self, text: &str) {
        let text = wrapped("    ", text, self.columns);
        self.line(&format!("\n{text}"));
    }

    /// On a line of its own, to be copied.
    fn command(&mut self, line: &str) {
        let columns = self.columns.unwrap_or(usize::MAX);
        self.text
            .push_str(&terminal::command(4, &escape_hidden(line), columns));
        self.text.push('\n');
    }

    fn table(&mut self, status: &Status) {
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
        self.line(&aligned(headings, rows.chain(never), self.columns));
    }

    fn held(&mut self, name: &str, held: &HeldStatus) {
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
        self.paragraph(&text);
        self.line("    look into Cal.com; if they are really gone:");
        self.command(&format!("calmirror approve {}", held.run_id));
    }

    fn rejects(&mut self, status: &Status) {
        if status.rejects.is_empty() {
            return;
        }
        self.line("\nrecords that cannot be mirrored:");
        let rows = status.rejects.iter().map(|reject| {
            [
                reject.client.clone(),
                reject.user_id.to_string(),
                instant(reject.first_seen_at),
                fields_at_fault(reject),
            ]
        });
        let table = lines(["client", "user", "since", "at fault"], rows, self.columns);
        if let Some(heading) = &table.heading {
            self.line(heading);
        }
        for (row, reject) in table.rows.iter().zip(&status.rejects) {
            self.line(row);
            let reason = format!("    {}", escape_hidden(&reject.reason));
            self.line(&wrapped("    ", &reason, self.columns));
        }
        let all: i64 = status.clients.iter().map(|client| client.status.rejects).sum();
        let more = all.saturating_sub(status.rejects.len() as i64);
        if more > 0 {
            self.line(&format!("and {more} more, in the table rejects"));
        }
    }

    fn fields(&mut self, fields: &[ExtraField]) {
        if fields.is_empty() {
            return;
        }
        self.line("\nfields that this version does not know, mirrored in extra:");
        for field in fields {
            let line = format!(
                "    {} (since {}, run {})",
                escape_hidden(&field.field.escape_debug().to_string()),
                instant(field.first_seen_at),
                field.run_id
            );
            self.line(&wrapped("        ", &line, self.columns));
        }
    }
}

pub(super) fn name(client: &Client, all: &[Client]) -> String {
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

fn said_of_retention(retention: &RetentionStatus) -> String {
    let when = match retention.finished_at {
        Some(at) => format!("last done at {}", instant(at)),
        None => format!(
            "under way, or cut, since {}, and last seen at {}",
            instant(retention.started_at),
            instant(retention.heartbeat_at)
        ),
    };
    let doubt = match retention.users_in_doubt {
        0 => String::new(),
        users => {
            format!("; {users} users' ledger has a fault and was not folded: run `calmirror verify`")
        }
    };
    let whole = retention.history_from.map_or_else(String::new, |from| {
        format!("; history is whole from {} on", instant(from))
    });
    format!(
        "retention: {when}: {} runs, {} rejects and {} versions deleted{doubt}{whole}",
        retention.deleted_runs, retention.deleted_rejects, retention.deleted_versions
    )
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

pub(super) fn instant(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}
