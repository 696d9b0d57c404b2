//! One user's past: every version, and how things stood at any instant.

use chrono::{DateTime, Utc};
use maud::{Markup, html};
use serde::Serialize;

use super::{
    changes::{deed, fields, folded_deed},
    document, moment,
    value::{self, LONG},
};
use crate::{
    compare::Values,
    model::{Field, Json, JsonObject, UserId},
    store::{HistoryEntry, Past, VersionRecord},
};

/// As `/api/v1/users/{id}` gives it.
#[derive(Debug, Serialize)]
pub(super) struct User {
    user_id: UserId,
    values_shown: bool,
    newest_version: Option<i32>,
    oldest_version: Option<i32>,
    /// The newest first.
    versions: Vec<Version>,
    state: Option<State>,
    /// Where the state at the instant is not known any more: since when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_from: Option<DateTime<Utc>>,
}

#[derive(Debug, Serialize)]
struct Version {
    version: i32,
    kind: String,
    /// Those before it were folded into it.
    folded: bool,
    observed_at: DateTime<Utc>,
    run_id: i64,
    client_id: String,
    changed: JsonObject,
}

#[derive(Debug, Serialize)]
struct State {
    version: i32,
    kind: String,
    valid_from: DateTime<Utc>,
    fields: JsonObject,
}

pub(super) fn json(id: UserId, past: &Past, values: Values) -> User {
    let versions = past.versions.iter().map(|version| Version {
        version: version.version,
        kind: version.kind.clone(),
        folded: version.folded,
        observed_at: version.observed_at,
        run_id: version.run_id,
        client_id: version.client_id.clone(),
        changed: value::masked_changes(values, &version.changed),
    });
    let state = past.state.as_ref().map(|state| State {
        version: state.version,
        kind: state.kind.clone(),
        valid_from: state.observed_at,
        fields: value::masked(values, &state.after),
    });
    User {
        user_id: id,
        values_shown: values == Values::Full,
        newest_version: past.newest,
        oldest_version: past.oldest,
        versions: versions.collect(),
        state,
        known_from: past.known_from,
    }
}

/// What was asked for: an instant, and versions before one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) at: Option<DateTime<Utc>>,
    pub(super) before: Option<i32>,
}

pub(super) fn page(id: UserId, client: Option<&str>, past: &Past, asked: Asked, values: Values) -> Markup {
    let Asked { at, before } = asked;
    let now = past.now;
    let shown = past.state.as_ref().map(|state| state.version);
    let is_listed = past.versions.iter().any(|version| shown == Some(version.version));
    let main = html! {
        div.inner {
            section.headline aria-labelledby="headline" {
                h1 #headline { "User " (id) }
                p.lead {
                    @match past.newest {
                        Some(1) => "One version",
                        newest => { (newest.unwrap_or_default()) " versions" },
                    }
                    @if let Some(client) = client { ", of client " bdi { (client) } }
                    @if values == Values::Masked { ". Personal values are masked" }
                    "."
                }
            }
            section.panel aria-labelledby="state" {
                h2 #state { "As of" }
                @if let Some(shown) = shown.filter(|_| is_listed) { (slider(past, shown)) }
                form.instant action={"/users/" (id)} method="get" {
                    label for="at" { "Any instant, UTC" }
                    input #at name="at" type="text" autocomplete="off" size="28" placeholder="2026-11-23 20:01"
                        value=[at.or(past.state.as_ref().map(|state| state.observed_at)).map(moment::exact)];
                    button type="submit" { "Show" }
                }
                div #as-of data-part="state" {
                    @if let Some(at) = at { p.faint { "As of " (moment::at(at)) } }
                    @match (&past.state, past.known_from) {
                        (Some(state), _) => {
                            (as_of(state, values, now))
                            @if !is_listed {
                                p { a href=(version_address(id, state.observed_at, state.version.checked_add(1))) { "The versions up to this one" } }
                            }
                        }
                        (None, Some(from)) => p.empty {
                            "Not known before " (moment::absolute_whole(from)) ": earlier versions were folded into a later one."
                        },
                        (None, None) => p.empty { "The user was not mirrored yet." }
                    }
                }
            }
            section.panel aria-labelledby="versions" {
                h2 #versions { "Versions" }
                @if past.versions.first().map(|first| first.version) != past.newest {
                    p { a href={"/users/" (id)} { "Newest versions" } }
                }
                ol.versions reversed {
                    @for version in &past.versions {
                        @let address = version_address(id, version.observed_at, before);
                        (entry(version, &address, shown, values, now))
                    }
                }
                @if let Some(last) = past.versions.last().filter(|last| past.oldest.is_some_and(|oldest| oldest < last.version)) {
                    p { a href={"/users/" (id) "?before=" (last.version)} rel="next" { "Earlier versions" } }
                }
            }
        }
    };
    document::page(&format!("User {id}"), &main)
}

/// The page as of an instant, with the versions before one, so that a link on a page of older versions leads to them again.
fn version_address(id: UserId, at: DateTime<Utc>, before: Option<i32>) -> String {
    let before = before.map_or_else(String::new, |before| format!("&before={before}"));
    format!("/users/{id}?at={}{before}#state", moment::exact(at))
}

/// For the script: without it the versions below are links to the same states. `shown` is one of them.
fn slider(past: &Past, shown: i32) -> Markup {
    let (Some(newest), Some(oldest)) = (past.versions.first(), past.versions.last()) else {
        return html! {};
    };
    if oldest.version == newest.version {
        return html! {};
    }
    html! {
        div.slider hidden data-slider {
            label for="slider" { "Version" }
            input #slider type="range" min=(oldest.version) max=(newest.version) step="1" value=(shown);
            output for="slider" #slider-text {}
        }
    }
}

fn as_of(state: &HistoryEntry, values: Values, now: DateTime<Utc>) -> Markup {
    let folded = state.folded.as_ref();
    let is_removed = state.kind == "removal" || folded.is_some_and(|folded| folded.removed_at.is_some());
    let known: Vec<&str> = Field::ALL.iter().map(|field| field.column()).collect();
    let others = state
        .after
        .keys()
        .filter(|key| !known.contains(key) && *key != "id" && *key != "client_id");
    html! {
        p.faint {
            "Version " strong { (state.version) } ", " (folded.map_or_else(|| deed(&state.kind), |_| folded_deed())) " by run " (state.run_id) ", "
            (moment::ago_and_at(state.observed_at, now))
        }
        @if let Some(folded) = folded {
            p.faint { "It stands for all versions before it too, the first of them " (moment::ago_and_at(folded.first_seen_at, now)) }
        }
        @if is_removed { p.notice.amber { "The user was removed. These are its last values." } }
        dl.state {
            @for column in known.iter().copied().chain(others) {
                @let value = state.after.get(column).cloned().unwrap_or(Json::NULL);
                @let changed = state.changed.get(column).is_some();
                div.changed[changed] {
                    dt { (column) @if changed { span.hidden { ", changed by this version" } } }
                    dd.null[value.is_null()] { bdi { (value::shown(values, column, &value, LONG)) } }
                }
            }
        }
    }
}

fn entry(
    version: &VersionRecord,
    address: &str,
    shown: Option<i32>,
    values: Values,
    now: DateTime<Utc>,
) -> Markup {
    let at = moment::exact(version.observed_at);
    let is_shown = shown == Some(version.version);
    html! {
        li.version value=(version.version) data-version=(version.version) {
            span class={"kind " (version.kind)} { (version.kind) }
            div.what {
                p.who {
                    a href=(address) aria-current=[is_shown.then_some("true")]
                        data-at=(at) data-text={"version " (version.version) ", " (version.kind) ", " (moment::absolute_whole(version.observed_at))} {
                        "Version " (version.version)
                    }
                    " " (if version.folded { folded_deed() } else { deed(&version.kind) })
                    span.faint { " · run " (version.run_id) }
                }
                (fields(&value::masked_changes(values, &version.changed)))
            }
            p.when { (moment::ago(version.observed_at, now)) " " span.at { (moment::absolute(version.observed_at, now)) } }
        }
    }
}
