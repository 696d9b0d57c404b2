//! What keeps an open page up to date: how far the passes under way have come, and that one has begun or ended.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header},
    response::{
        IntoResponse, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, stream};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Interval, MissedTickBehavior, interval},
};

use super::{client, overview::UnderWay};
use crate::{server::Context, sync::Snapshot};

/// Pages that are kept up to date at the same time. More are shown, and say that they are not live.
const STREAMS: usize = 32;

/// How often a pass under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Places for streams. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Streams(Arc<Semaphore>);

impl Default for Streams {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STREAMS)))
    }
}

pub(super) async fn events(
    State(context): State<Context>,
    Extension(streams): Extension<Streams>,
) -> Response {
    match streams.0.try_acquire_owned() {
        Ok(place) => {
            let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
            let answer = Sse::new(told(context, place)).keep_alive(keep_alive);
            // What stands in between must not gather events before it passes them on.
            ([("x-accel-buffering", "no")], answer).into_response()
        }
        Err(_) => {
            let later = [(header::RETRY_AFTER, "30")];
            (
                StatusCode::SERVICE_UNAVAILABLE,
                later,
                "too many pages are open\n",
            )
                .into_response()
        }
    }
}

/// One open page.
struct Told {
    context: Context,
    news: watch::Receiver<u64>,
    look: Interval,
    progress: BTreeMap<String, Snapshot>,
    /// Somebody else may have it when this is dropped.
    _place: OwnedSemaphorePermit,
}

fn told(mut context: Context, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    context.view.mark_unchanged();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut news = context.live.news();
    // A page that was made before this began, or before the connection was lost, may have missed something.
    news.mark_changed();
    let told = Told {
        news,
        look,
        progress: BTreeMap::new(),
        context,
        _place: place,
    };
    stream::unfold(told, |mut told| async move {
        let event = told.next().await?;
        Some((Ok(event), told))
    })
}

impl Told {
    /// The next event; none when the process ends, or goes by another configuration. A browser asks anew then: the page shows other
    /// clients, perhaps, or wants another token.
    async fn next(&mut self) -> Option<Event> {
        loop {
            tokio::select! {
                biased;
                () = self.context.closing.cancelled() => return None,
                _ = self.context.view.changed() => return None,
                changed = self.news.changed() => {
                    changed.ok()?;
                    let count = *self.news.borrow_and_update();
                    return Some(Event::default().event("changed").data(count.to_string()));
                }
                _ = self.look.tick() => {
                    if let Some(event) = self.progress() {
                        return Some(event);
                    }
                }
            }
        }
    }

    fn progress(&mut self) -> Option<Event> {
        let now = self.context.under_way();
        let moved = |(client, snapshot): (&String, &Snapshot)| {
            let before = self.progress.get(client);
            before.is_none_or(|before| {
                (before.observed, before.requests, before.changes, before.expected)
                    != (
                        snapshot.observed,
                        snapshot.requests,
                        snapshot.changes,
                        snapshot.expected,
                    )
            })
        };
        let is_news = now.iter().any(moved);
        self.progress = now;
        if !is_news {
            return None;
        }
        let passes: Vec<_> = self
            .progress
            .iter()
            .map(|(name, snapshot)| {
                let pass = UnderWay::from(*snapshot);
                serde_json::json!({ "client": name, "text": client::progress_text(&pass), "pass": pass })
            })
            .collect();
        let data = serde_json::Value::from(passes).to_string();
        Some(Event::default().event("progress").data(data))
    }
}
