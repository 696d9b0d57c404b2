//! The newest passes of a client as a strip, one stroke each.

use chrono::{DateTime, Utc};
use maud::{Markup, html};

use super::n;
use crate::{server::page::moment, store::PassRecord};

const SHOWN: usize = 60;
const STEP: f64 = 8.0;
const HEIGHT: f64 = 26.0;

/// How well a pass ended: the class that colours it.
pub(in crate::server::page) fn class_of(outcome: Option<&str>) -> &'static str {
    match outcome {
        None => "running",
        Some("applied" | "no_change") => "well",
        Some("held" | "partial") => "amber",
        Some(_) => "bad",
    }
}

/// `passes`: the newest first.
pub(in crate::server::page) fn plot(passes: &[PassRecord], now: DateTime<Utc>) -> Markup {
    let shown = &passes[..passes.len().min(SHOWN)];
    let complete = shown
        .iter()
        .filter(|pass| class_of(pass.outcome.as_deref()) == "well")
        .count();
    let width = SHOWN as f64 * STEP;
    let label = format!("Of the newest {} passes {complete} were complete", shown.len());
    html! {
        svg.strip viewBox=(format!("0 0 {} {}", n(width), n(HEIGHT))) role="img" aria-label=(label) {
            // The newest at the right; places that no pass has taken yet are shown faintly.
            @for place in shown.len()..SHOWN {
                rect.unmade x=(n(width - (place as f64 + 1.0) * STEP + 1.0)) y="4" width=(n(STEP - 2.5)) height=(n(HEIGHT - 8.0)) rx="2" {}
            }
            @for (place, pass) in shown.iter().enumerate() {
                @let changed = pass.inserted + pass.updated + pass.removed + pass.restored + pass.repaired > 0;
                @let inset = if changed { 0.0 } else { 4.0 };
                rect class=(class_of(pass.outcome.as_deref())) x=(n(width - (place as f64 + 1.0) * STEP + 1.0)) y=(n(inset))
                    width=(n(STEP - 2.5)) height=(n(HEIGHT - 2.0 * inset)) rx="2" {
                    title {
                        "run " (pass.run_id) ": " (pass.outcome.as_deref().unwrap_or("under way").replace('_', " ")) ", "
                        (moment::absolute(pass.started_at, now))
                    }
                }
            }
        }
    }
}
