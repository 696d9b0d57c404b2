//! How a plan reads, for people and for programs.

use anstyle::{AnsiColor, Style};
use serde::Serialize;

use super::super::{Out, table::counted};
use crate::{
    compare::{Change, ChangeKind, ChangeSet, Changed, Values, shorten},
    config,
    model::{Field, Json, JsonObject, ManagedUser, Reject, RunOutcome, UserId, escape_hidden},
    store::Candidate,
    sync::{Fate, Plan, Planned, Report},
};

/// A diff that people can read. With several clients, each line begins with its client's name.
#[derive(Debug)]
pub(super) struct TextLines {
    /// Width of the names; none where there is only one.
    names: Option<usize>,
}

impl TextLines {
    pub(super) fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let (mut count, mut width) = (0, 0);
        for name in names {
            count += 1;
            width = width.max(name.chars().count());
        }
        Self {
            names: (count > 1).then_some(width),
        }
    }

    pub(super) fn planned(
        &self,
        client: &str,
        planned: Planned<'_>,
        removal: &config::Removal,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        match planned {
            Planned::Batch(set) => {
                for change in in_order(set) {
                    self.change(client, change, out)?;
                }
                for reject in &set.bookkeeping.record_rejects {
                    self.reject(client, reject, out)?;
                }
                Ok(())
            }
            Planned::Gone(candidate, fate) => self.gone(client, candidate, fate, removal, out),
        }
    }

    /// What is shown is what the reader may also query, so nothing is masked.
    fn change(&self, client: &str, change: &Change, out: &mut Out) -> anyhow::Result<()> {
        let style = style_of(change.kind);
        let (sign, id) = (change.kind.sign(), change.user_id());
        let what = match change.kind {
            ChangeKind::Insert => String::new(),
            ChangeKind::Restore => format!("  v{}  (restored)", change.version),
            ChangeKind::Update | ChangeKind::Removal => format!("  v{}", change.version),
        };
        self.line(
            client,
            format_args!("{style}{sign} user {id}{style:#}{what}"),
            out,
        )?;
        if change.kind == ChangeKind::Insert {
            for (field, value) in filled(&change.after) {
                let value = shorten(value.to_string());
                self.line(client, format_args!("    {field}: {value}"), out)?;
            }
        }
        for field in &change.fields {
            self.line(client, format_args!("    {}", field.display(Values::Full)), out)?;
        }
        Ok(())
    }

    fn reject(&self, client: &str, reject: &Reject, out: &mut Out) -> anyhow::Result<()> {
        let style = Style::new().fg_color(Some(AnsiColor::Yellow.into()));
        let (id, reason) = (reject.id, shorten(escape_hidden(&reject.reason()).into_owned()));
        self.line(
            client,
            format_args!("{style}! user {id}{style:#}  cannot be mirrored: {reason}"),
            out,
        )
    }

    fn gone(
        &self,
        client: &str,
        candidate: &Candidate,
        fate: Fate,
        removal: &config::Removal,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        let id = candidate.removal.user_id;
        let wanted = removal.confirmations;
        let said = match candidate.confirmations {
            // One that was held for long has more than it needs.
            said if said > wanted => format!("gone in {said} passes, {wanted} needed"),
            said => format!("gone in {said} of {wanted} passes"),
        };
        if fate == Fate::Removed {
            let style = style_of(ChangeKind::Removal);
            let (sign, version) = (ChangeKind::Removal.sign(), candidate.removal.version);
            let line = format_args!("{style}{sign} user {id}{style:#}  v{version}  {said}");
            return self.line(client, line, out);
        }
        let why = match fate {
            Fate::Removed | Fate::Waits if candidate.confirmations < wanted => {
                format!("{said}: not removed yet")
            }
            Fate::Removed | Fate::Waits => format!(
                "{said}, the first {} s ago: not removed before {} s",
                candidate.age.as_secs(),
                removal.min_age.as_secs()
            ),
            Fate::Held => format!("{said}: held"),
            Fate::NotCounted => "gone, which this pass would not count".to_owned(),
        };
        let style = Style::new().fg_color(Some(AnsiColor::Magenta.into()));
        self.line(client, format_args!("{style}? user {id}{style:#}  {why}"), out)
    }

    pub(super) fn ended(&self, client: &str, plan: &Plan, users: usize, out: &mut Out) -> anyhow::Result<()> {
        let bold = Style::new().bold();
        let r = &plan.report;
        if plan.makes_tables {
            out.line(format_args!(
                "{bold}{client}:{bold:#} the database has no tables yet; a pass makes them first"
            ))?;
        }
        let seen = format!(
            "{} unchanged, {} missing, {} rejected; {}",
            r.unchanged,
            r.missing,
            r.rejected,
            counted(r.requests, "request")
        );
        if r.observed == 0 && r.outcome == RunOutcome::Failed {
            // The line below says it all.
        } else if r.changes() == 0 && r.outcome == RunOutcome::NoChange {
            out.line(format_args!("{bold}{client}:{bold:#} nothing to do; {seen}"))?;
        } else {
            out.line(format_args!(
                "{bold}{client}:{bold:#} {} to insert, {} to update, {} to remove, {} to restore, {seen}",
                r.inserted, r.updated, r.removed, r.restored
            ))?;
        }
        if plan.cut {
            out.line(format_args!(
                "{client}: incomplete: asked to stop after {} of {users} users; a pass may do more than this",
                r.observed
            ))?;
        } else if let Some(error) = &r.error {
            out.line(format_args!("{client}: {}: {}", r.outcome, escape_hidden(error)))?;
        }
        Ok(())
    }

    fn line(&self, client: &str, text: std::fmt::Arguments<'_>, out: &mut Out) -> anyhow::Result<()> {
        match self.names {
            None => out.line(text),
            Some(width) => out.line(format_args!("{client:<width$}  {text}")),
        }
    }
}

/// By user, so that the same plan reads the same: answers come in any order.
fn in_order(set: &ChangeSet) -> Vec<&Change> {
    let mut changes: Vec<_> = set.changes().collect();
    changes.sort_by_key(|change| change.user_id());
    changes
}

fn style_of(kind: ChangeKind) -> Style {
    let colour = match kind {
        ChangeKind::Insert => AnsiColor::Green,
        ChangeKind::Update => AnsiColor::Yellow,
        ChangeKind::Removal => AnsiColor::Red,
        ChangeKind::Restore => AnsiColor::Cyan,
    };
    Style::new().bold().fg_color(Some(colour.into()))
}

/// The fields that hold something.
fn filled(user: &ManagedUser) -> impl Iterator<Item = (Field, Json)> {
    Field::ALL
        .into_iter()
        .map(|field| (field, user.value(field)))
        .filter(|(_, value)| !value.is_null() && !value.is_empty_object())
}

/// One JSON value a line: one for each change, and a summary for each client.
pub(super) struct JsonLines;

/// A user that a pass would change, or would have on record as missing.
#[derive(Serialize)]
struct ChangeLine<'a> {
    client: &'a str,
    /// A kind of change, or `missing`.
    kind: &'a str,
    user_id: UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    changed: Option<Changed<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<JsonObject>,
    /// In how many passes Cal.com said that the user is gone, this one included if it would count.
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmations: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    confirmations_needed: Option<u32>,
    /// Why a user that is gone is not removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
}

#[derive(Serialize)]
struct SummaryLine<'a> {
    #[serde(flatten)]
    report: &'a Report,
    makes_tables: bool,
}

impl JsonLines {
    pub(super) fn planned(
        client: &str,
        planned: Planned<'_>,
        removal: &config::Removal,
        out: &mut Out,
    ) -> anyhow::Result<()> {
        match planned {
            Planned::Batch(set) => in_order(set).into_iter().try_for_each(|change| {
                let after = || {
                    Field::ALL
                        .into_iter()
                        .map(|field| (field.column().to_owned(), change.after.value(field)))
                        .collect()
                };
                out.json(&ChangeLine {
                    client,
                    kind: change.kind.as_str(),
                    user_id: change.user_id(),
                    version: Some(change.version),
                    changed: Some(change.changed()),
                    after: (change.kind == ChangeKind::Insert).then(after),
                    confirmations: None,
                    confirmations_needed: None,
                    why: None,
                })
            }),
            Planned::Gone(candidate, fate) => {
                let is_removed = fate == Fate::Removed;
                out.json(&ChangeLine {
                    client,
                    kind: if is_removed {
                        ChangeKind::Removal.as_str()
                    } else {
                        "missing"
                    },
                    user_id: candidate.removal.user_id,
                    version: is_removed.then_some(candidate.removal.version),
                    changed: is_removed.then(Changed::default),
                    after: None,
                    confirmations: Some(match fate {
                        Fate::NotCounted => candidate.confirmations - 1,
                        _ => candidate.confirmations,
                    }),
                    confirmations_needed: Some(removal.confirmations),
                    why: match fate {
                        Fate::Removed => None,
                        Fate::Held => Some("held"),
                        Fate::Waits => Some("waits"),
                        Fate::NotCounted => Some("not_counted"),
                    },
                })
            }
        }
    }

    pub(super) fn ended(plan: &Plan, out: &mut Out) -> anyhow::Result<()> {
        out.json(&SummaryLine {
            report: &plan.report,
            makes_tables: plan.makes_tables,
        })
    }
}
