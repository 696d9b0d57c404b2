//! The latest changes, as they are read.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Serialize;

use super::{
    moment,
    plot::days::grouped,
    value::{self, SHORT},
};
use crate::{compare::Values, model::JsonObject, store::RecentChange};

/// Entries of the list.
const SHOWN: usize = 25;

/// So many users that one pass wrote for the first time are still named one by one.
const FEW: usize = 3;

/// One entry of the list: a change, or the many users that a pass saw for the first time.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Item {
    pub(super) client: String,
    pub(super) run_id: i64,
    pub(super) observed_at: DateTime<Utc>,
    pub(super) kind: String,
    /// None where it is many.
    pub(super) user_id: Option<i64>,
    pub(super) version: Option<i32>,
    /// Of a version into which those before it were folded.
    pub(super) folded: bool,
    /// How many users it is about.
    pub(super) users: i64,
    /// The first of many.
    pub(super) first_users: Vec<i64>,
    /// Masked where values are not shown.
    pub(super) changed: JsonObject,
}

/// `changes`: the newest first.
pub(super) fn items(changes: &[RecentChange], values: Values) -> Vec<Item> {
    let mut items = Vec::new();
    let mut rest = changes;
    while let Some(change) = rest.first().filter(|_| items.len() < SHOWN) {
        let alike =
            |other: &&RecentChange| other.kind == "insert" && !other.folded && other.run_id == change.run_id;
        let inserts = rest.iter().take_while(alike).count();
        if inserts > FEW {
            let first_users = rest[..inserts].iter().rev().take(5).map(|change| change.user_id);
            items.push(Item {
                user_id: None,
                version: None,
                users: change.run_inserted.max(inserts as i64),
                first_users: first_users.collect(),
                ..of(change, values)
            });
            rest = &rest[inserts..];
        } else {
            items.push(of(change, values));
            rest = &rest[1..];
        }
    }
    items
}

fn of(change: &RecentChange, values: Values) -> Item {
    Item {
        client: change.client.clone(),
        run_id: change.run_id,
        observed_at: change.observed_at,
        kind: change.kind.clone(),
        user_id: Some(change.user_id),
        version: Some(change.version),
        folded: change.folded,
        users: 1,
        first_users: Vec::new(),
        changed: value::masked_changes(values, &change.changed),
    }
}

/// What happened, in words.
pub(super) fn deed(kind: &str) -> &str {
    match kind {
        "insert" => "first seen",
        "update" => "changed",
        "removal" => "removed",
        "restore" => "restored",
        "repair" => "set back after an edit in Postgres",
        other => other,
    }
}

/// What is known of a version into which those before it were folded: that it was written, and not how it differed.
pub(super) const fn folded_deed() -> &'static str {
    "written"
}

pub(super) fn list(items: &[Item], now: DateTime<Utc>) -> Markup {
    html! {
        @if items.is_empty() {
            p.empty { "Nothing has changed yet." }
        } @else {
            ol.changes {
                @for item in items {
                    li.change {
                        span class={"kind " (item.kind)} { (item.kind) }
                        div.what {
                            p.who {
                                @match item.user_id {
                                    Some(user) => {
                                        a href={"/users/" (user)} data-key={"change-" (user) "-" (item.version.unwrap_or_default())} {
                                            "User " (user)
                                        }
                                        " " (if item.folded { folded_deed() } else { deed(&item.kind) })
                                        @if let Some(version) = item.version { span.faint { " · version " (version) } }
                                    }
                                    None => {
                                        strong { (grouped(item.users)) " users" } " first seen"
                                    }
                                }
                                span.faint { " · " bdi { (item.client) } " · run " (item.run_id) }
                            }
                            (fields(&item.changed))
                            @if item.user_id.is_none() {
                                p.faint.some {
                                    "Among them "
                                    @for (place, user) in item.first_users.iter().enumerate() {
                                        @if place > 0 { ", " }
                                        a href={"/users/" (user)} data-key={"first-" (user)} { (user) }
                                    }
                                }
                            }
                        }
                        p.when { (moment::ago(item.observed_at, now)) }
                    }
                }
            }
        }
    }
}

/// Each changed field with what it was and what it is. The values are masked already where they have to be.
pub(super) fn fields(changed: &JsonObject) -> Markup {
    html! {
        @if !changed.is_empty() {
            dl.diff {
                @for column in changed.keys() {
                    @let change = changed.get(column).cloned().unwrap_or(crate::model::Json::NULL);
                    div {
                        dt { (column) }
                        dd {
                            del { span.hidden { "was " } bdi { (value::shown(Values::Full, column, &change.member("old"), SHORT)) } }
                            span.arrow aria-hidden="true" { "→" }
                            ins { span.hidden { "is now " } bdi { (value::shown(Values::Full, column, &change.member("new"), SHORT)) } }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(change_id: i64, run_id: i64, kind: &str) -> RecentChange {
        RecentChange {
            change_id,
            run_id,
            user_id: 1_000 + change_id,
            client: "acme".to_owned(),
            version: 1,
            kind: kind.to_owned(),
            folded: false,
            observed_at: DateTime::UNIX_EPOCH,
            changed: JsonObject::default(),
            run_inserted: 150,
        }
    }

    #[test]
    fn many_users_of_one_pass_are_one_entry() {
        let mut changes = vec![
            change(9, 3, "update"),
            change(8, 2, "insert"),
            change(7, 2, "insert"),
        ];
        changes.extend((1..=6).rev().map(|id| change(id, 1, "insert")));
        let items = items(&changes, Values::Masked);
        let said: Vec<_> = items
            .iter()
            .map(|item| (item.run_id, item.user_id, item.users))
            .collect();
        assert_eq!(
            said,
            [
                (3, Some(1_009), 1),
                (2, Some(1_008), 1),
                (2, Some(1_007), 1),
                (1, None, 150)
            ]
        );
        assert_eq!(items[3].first_users, [1_001, 1_002, 1_003, 1_004, 1_005]);
    }
}
