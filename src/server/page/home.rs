//! The status page itself.

use maud::{Markup, html};

use super::{
    changes, client, document, moment,
    overview::Overview,
    plot::days::{self, KINDS, counts, grouped},
};
use crate::health::Condition;

pub(super) fn page(overview: &Overview) -> Markup {
    let (headline, condition) = headline(overview);
    let main = html! {
        div.inner {
            section.headline data-part="headline" aria-labelledby="headline" {
                h1 #headline data-condition=(condition.as_str()) { (headline) }
                p.lead {
                    "As of " (moment::at(overview.now))
                    @if !overview.values_shown { ". Personal values are masked" }
                    "."
                }
            }
            section.clients data-part="clients" aria-labelledby="clients" {
                h2.hidden #clients { "Clients" }
                @for client in &overview.clients { (client::card(client, overview.now)) }
                @if overview.clients.is_empty() { p.empty { "No client is configured." } }
            }
            section.panel data-part="days" aria-labelledby="days" {
                (changes_a_day(overview))
            }
            section.panel data-part="changes" aria-labelledby="changes" {
                h2 #changes { "Latest changes" }
                (changes::list(&overview.changes, overview.now))
            }
        }
    };
    let sign = if condition == Condition::Well { "" } else { "! " };
    document::page(&format!("{sign}{headline}"), &main)
}

/// The worst first.
fn headline(overview: &Overview) -> (String, Condition) {
    let bad: Vec<_> = overview
        .clients
        .iter()
        .filter(|client| client.health.condition != Condition::Well)
        .collect();
    let worst = bad.iter().map(|client| client.health.condition).max();
    let all = overview.clients.len();
    let text = match (bad.as_slice(), all) {
        ([], 0 | 1) => "The mirror is fresh".to_owned(),
        ([], _) => "All clients are fresh".to_owned(),
        ([one], 1) => match one.health.condition {
            Condition::Held => "Removals wait for you".to_owned(),
            Condition::Stale => "The mirror is stale".to_owned(),
            Condition::Never => "There is no complete pass yet".to_owned(),
            // By Cal.com or, where the base address has changed, by us.
            _ => "The client is refused".to_owned(),
        },
        ([_], all) => format!("1 of {all} clients needs attention"),
        (bad, all) => format!("{} of {all} clients need attention", bad.len()),
    };
    (text, worst.unwrap_or(Condition::Well))
}

fn changes_a_day(overview: &Overview) -> Markup {
    let total: i64 = overview.days.iter().flat_map(counts).sum();
    html! {
        figure {
            figcaption {
                h2 #days { "Changes a day" }
                p.faint { (grouped(total)) " in the last " (overview.days.len()) " days, by UTC" }
                ul.legend aria-hidden="true" {
                    @for (name, class) in KINDS {
                        li { span.swatch.(class) {} (name) }
                    }
                }
            }
            (days::plot(&overview.days))
        }
        details data-key="days-table" {
            summary { "As a table" }
            div.scroll tabindex="0" role="region" aria-label="Changes a day, as a table" {
                table {
                    caption.hidden { "Changes a day by kind" }
                    thead {
                        tr {
                            th scope="col" { "Day" }
                            @for (name, _) in KINDS { th.number scope="col" { (name) } }
                        }
                    }
                    tbody {
                        @for day in overview.days.iter().rev().filter(|day| counts(day).iter().any(|count| *count > 0)) {
                            tr {
                                th scope="row" { time datetime=(day.day) { (day.day) } }
                                @for count in counts(day) { td.number { (grouped(count)) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The page while the tables cannot be read.
pub(super) fn without_database(error: &str) -> Markup {
    let main = html! {
        div.inner {
            section.headline data-part="headline" aria-labelledby="headline" {
                h1 #headline data-condition="refused" { "The database does not answer" }
                p.lead { (error) }
                p { "Nothing can be said of the mirror before it does. " code { "/readyz" } " and the log say the same." }
            }
            section data-part="clients" {}
            section data-part="days" {}
            section data-part="changes" {}
        }
    };
    document::page("! The database does not answer", &main)
}
