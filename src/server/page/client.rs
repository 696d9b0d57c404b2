//! One client on the status page.

use chrono::{DateTime, TimeDelta, Utc};
use maud::{Markup, html};

use super::{
    moment,
    overview::{ClientOverview, UnderWay, Users},
    plot::{self, Window, days::grouped, passes::class_of},
};
use crate::{
    health::{Condition, Reason},
    store::{HeldStatus, PassRecord},
};

/// Passes that are listed.
const LISTED: usize = 10;

pub(super) fn card(client: &ClientOverview, now: DateTime<Utc>) -> Markup {
    let name = &client.health.client;
    let id = format!("client-{}", client.health.client_id);
    let oldest = client.passes.last().map(|pass| pass.began_at);
    let window = Window::since(oldest, now);
    html! {
        article.card data-condition=(client.health.condition.as_str()) data-client=(name) data-summary=(summary(client))
            aria-labelledby=(id) {
            header.card-head {
                h3 id=(id) { bdi { (name) } }
                (badge(client))
                @if let Some(users) = client.users { (numbers(users)) }
            }
            p.verdict { (verdict(client, now)) }
            @for reason in &client.health.reasons {
                @if let Reason::Refused { error, run_id, at } = reason { (refused(error, *run_id, *at, now)) }
            }
            @if let Some(held) = &client.held { (held_set(held, now)) }
            @if let Some(pass) = &client.under_way { (under_way(name, pass, now)) }
            dl.facts {
                div {
                    dt { "Last pass" }
                    dd {
                        @match &client.last_pass {
                            Some(pass) => (last_pass(pass, client.held.is_some(), now)),
                            None => "none yet",
                        }
                    }
                }
                div {
                    dt { "Next pass" }
                    dd {
                        @match client.next_pass_at {
                            Some(at) => (moment::ago_and_at(at, now)),
                            None => "never, by the schedule",
                        }
                    }
                }
            }
            @if !client.passes.is_empty() {
                div.plots {
                    figure {
                        figcaption { h4 { "Lag" } span.faint { (window.name()) } }
                        (plot::lag::plot(window, &client.passes, client.stale_after(now)))
                    }
                    figure {
                        figcaption { h4 { "Requests a minute" } span.faint { (window.name()) } }
                        (plot::requests::plot(window, &client.passes, client.requests_per_minute))
                    }
                }
                details.passes data-key={"passes-" (client.health.client_id)} {
                    summary {
                        span { "Passes" }
                        (plot::passes::plot(&client.passes, now))
                    }
                    (table(name, &client.passes, now))
                }
            }
        }
    }
}

/// What has to be said when it becomes another.
fn summary(client: &ClientOverview) -> String {
    let state = state_name(client);
    match (&client.under_way, &client.last_pass) {
        (Some(_), _) => format!("{}: {state}, a pass is under way", client.health.client),
        (None, Some(pass)) => format!(
            "{}: {state}, the last pass was {}, {}",
            client.health.client,
            outcome_name(pass),
            deeds(pass)
        ),
        (None, None) => format!("{}: {state}", client.health.client),
    }
}

fn state_name(client: &ClientOverview) -> &'static str {
    match client.health.condition {
        Condition::Well => "fresh",
        Condition::Never => "never mirrored",
        Condition::Stale => "stale",
        Condition::Held => "held",
        Condition::Refused => "refused",
    }
}

fn badge(client: &ClientOverview) -> Markup {
    let condition = client.health.condition;
    html! {
        p.badge data-condition=(condition.as_str()) { span.dot aria-hidden="true" {} (state_name(client)) }
        @if client.under_way.is_some() {
            p.badge data-condition="running" { span.dot aria-hidden="true" {} "running" }
        }
    }
}

fn numbers(users: Users) -> Markup {
    let rest = [
        (users.removed, "removed"),
        (users.missing, "missing"),
        (users.rejects, "rejected"),
    ];
    html! {
        p.numbers {
            span { strong { (grouped(users.live)) } " live" }
            @for (count, name) in rest {
                " " span.none[count == 0] { strong { (grouped(count)) } " " (name) }
            }
        }
    }
}

/// Fresh or not, and since when.
fn verdict(client: &ClientOverview, now: DateTime<Utc>) -> Markup {
    let health = &client.health;
    let confirmed = html! {
        @if let Some(at) = health.last_complete_at { " The last complete pass ended " (moment::ago(at, now)) "." }
    };
    html! {
        @match (health.fresh, client.fresh_since, health.fresh_until) {
            (true, Some(since), Some(until)) => {
                "Fresh since " (moment::at_and_ago(since, now)) "." (confirmed) " It stays so until " (moment::at_and_ago(until, now)) "."
            }
            (true, ..) => { "Fresh." (confirmed) }
            (false, _, Some(until)) => { "Not fresh since " (moment::at_and_ago(until, now)) "." (confirmed) }
            (false, ..) => "Not fresh: no pass was complete yet."
        }
    }
}

fn refused(error: &str, run_id: i64, at: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Markup {
    html! {
        div.notice.bad {
            // By Cal.com, or by us, since it is to be asked elsewhere: the error says which.
            h4 { "This client is refused, and is not mirrored until you see to it" }
            p { (error) }
            p.faint { "Run " (run_id) @if let Some(at) = at { ", " (moment::ago(at, now)) } }
        }
    }
}

fn held_set(held: &HeldStatus, now: DateTime<Utc>) -> Markup {
    let why = match held.reason.as_str() {
        "limit" => "That is more than a pass may remove on its own.",
        "everyone" => "These are all users of the client.",
        "no_control" => "No other user of the client answered.",
        other => other,
    };
    let more = held.users - held.first_users.len() as i64;
    html! {
        div.notice.amber {
            h4 {
                (grouped(held.users)) " of " (grouped(held.live)) " users would be removed"
            }
            p { (why) " Held since " (moment::at_and_ago(held.held_since, now)) ". Look into Cal.com; if they are really gone:" }
            p.command { code { "calmirror approve " (held.run_id) } }
            details data-key={"held-" (held.client_id)} {
                summary { "Which users" }
                ul.users {
                    @for user in &held.first_users { li { a href={"/users/" (user)} data-key={"held-" (user)} { (user) } } }
                    @if more > 0 { li { "and " (grouped(more)) " more" } }
                }
            }
        }
    }
}

/// How far a pass has come, in words.
pub(super) fn progress_text(pass: &UnderWay) -> String {
    let users = match pass.expected {
        Some(expected) => format!("{} of {expected} users", pass.observed),
        None => counted(pass.observed, "user"),
    };
    let left = pass
        .left_s
        .map(|left| TimeDelta::milliseconds((left * 1_000.0) as i64));
    let left = left.filter(|left| left.num_seconds() > 0);
    let left = left.map_or_else(String::new, |left| format!(", {} left", moment::duration(left)));
    format!(
        "{users}, {}, {}{left}",
        counted(pass.requests, "request"),
        counted(pass.changes, "change")
    )
}

fn under_way(name: &str, pass: &UnderWay, now: DateTime<Utc>) -> Markup {
    html! {
        div.under-way data-progress=(name) {
            p.label {
                strong { "A pass is under way" }
                @if !pass.here { " in another process" }
                ": " span.text { (progress_text(pass)) }
                @if let Some(alive) = pass.alive_at { ", as of " (moment::ago(alive, now)) }
            }
            @match pass.expected {
                Some(expected) => progress aria-label={"Pass over " (name)} max=(expected.max(1)) value=(pass.observed.min(expected)) {},
                None => progress aria-label={"Pass over " (name)} {},
            }
        }
    }
}

fn outcome_name(pass: &PassRecord) -> String {
    pass.outcome.as_deref().unwrap_or("under way").replace('_', " ")
}

/// What a pass changed, in words.
fn deeds(pass: &PassRecord) -> String {
    let deeds = [
        (pass.inserted, "inserted"),
        (pass.updated, "updated"),
        (pass.removed, "removed"),
        (pass.restored, "restored"),
        (pass.repaired, "repaired"),
    ];
    let deeds: Vec<_> = deeds
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, deed)| format!("{} {deed}", grouped(count)))
        .collect();
    if deeds.is_empty() {
        "nothing changed".to_owned()
    } else {
        deeds.join(", ")
    }
}

fn counted(count: u64, one: &str) -> String {
    let number = grouped(i64::try_from(count).unwrap_or(i64::MAX));
    format!("{number} {one}{}", if count == 1 { "" } else { "s" })
}

/// `held`: what a held pass has to say is said elsewhere.
fn last_pass(pass: &PassRecord, held: bool, now: DateTime<Utc>) -> Markup {
    let is_said = held && pass.outcome.as_deref() == Some("held");
    let error = pass.error.as_ref().filter(|_| !is_said);
    let finished = pass.finished_at.unwrap_or(pass.started_at);
    html! {
        span.outcome.(class_of(pass.outcome.as_deref())) { (outcome_name(pass)) } " "
        (moment::ago(finished, now)) ": " (deeds(pass))
        span.faint {
            " · " (counted(u64::try_from(pass.requests).unwrap_or_default(), "request")) " in "
            (moment::duration(finished - pass.started_at)) " · run " (pass.run_id)
        }
        @if let Some(error) = error { p.why { (error) } }
    }
}

fn table(name: &str, passes: &[PassRecord], now: DateTime<Utc>) -> Markup {
    html! {
        div.scroll tabindex="0" role="region" aria-label={"The newest passes over " (name)} {
            table {
                caption.hidden { "The newest passes over " (name) }
                thead {
                    tr {
                        th.number scope="col" { "Run" }
                        th scope="col" { "Began" }
                        th scope="col" { "Outcome" }
                        th scope="col" { "Changes" }
                        th.number scope="col" { "Observed" }
                        th.number scope="col" { "Requests" }
                        th.number scope="col" { "Took" }
                    }
                }
                tbody {
                    @for pass in passes.iter().take(LISTED) {
                        tr {
                            th.number scope="row" { (pass.run_id) }
                            td { (moment::ago(pass.started_at, now)) }
                            td { span.outcome.(class_of(pass.outcome.as_deref())) { (outcome_name(pass)) } }
                            td { (deeds(pass)) }
                            td.number { (grouped(pass.observed)) }
                            td.number { (grouped(pass.requests)) }
                            td.number { @if let Some(finished) = pass.finished_at { (moment::duration(finished - pass.started_at)) } }
                        }
                    }
                }
            }
        }
    }
}
