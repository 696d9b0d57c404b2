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
    time::{Instant, Interval, MissedTickBehavior, interval},
};

use super::{client, overview::UnderWay};
use crate::{server::Context, sync::Snapshot};

/// Pages that are kept up to date at the same time. More are shown, and say that they are not live.
const STREAMS: usize = 32;

/// How often a pass under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// A page asks for all of itself when it is told that something has changed. With many clients that is always so.
const TELL_EVERY: Duration = Duration::from_secs(1);
const TELL_EVERY_PER_CLIENT: Duration = Duration::from_millis(50);

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
            let answer = Sse::new(events_of(context, place)).keep_alive(keep_alive);
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
    /// When it was last told of them.
    told_at: Option<Instant>,
    tell_every: Duration,
    look: Interval,
    progress: BTreeMap<String, Snapshot>,
    /// Somebody else may have it when this is dropped.
    _place: OwnedSemaphorePermit,
}

fn events_of(context: Context, place: OwnedSemaphorePermit) -> impl Stream<Item = Result<Event, Infallible>> {
    stream::unfold(told(context, place), |mut told| async move {
        let event = told.next().await?;
        Some((Ok(event), told))
    })
}

fn told(mut context: Context, place: OwnedSemaphorePermit) -> Told {
    context.view.mark_unchanged();
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut news = context.live.news();
    // A page that was made before this began, or before the connection was lost, may have missed something.
    news.mark_changed();
    let clients = u32::try_from(context.view.borrow().clients.len()).unwrap_or(u32::MAX);
    Told {
        news,
        told_at: None,
        tell_every: TELL_EVERY.max(TELL_EVERY_PER_CLIENT * clients),
        look,
        progress: BTreeMap::new(),
        context,
        _place: place,
    }
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
                changed = self.news.changed(), if self.may_be_told() => {
                    changed.ok()?;
                    self.told_at = Some(Instant::now());
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

    /// Otherwise the next look is soon enough.
    fn may_be_told(&self) -> bool {
        self.told_at.is_none_or(|told| told.elapsed() >= self.tell_every)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{server::tests::context_of, sync::Progress};

    #[tokio::test(start_paused = true)]
    async fn a_page_of_many_clients_is_told_of_changes_less_often() {
        for (clients, seconds) in [(1, 1), (200, 10)] {
            let (_views, context) = context_of(clients);
            let live = context.live.clone();
            let places = Arc::new(Semaphore::new(1));
            let mut told = told(context, places.try_acquire_owned().expect("it is free"));
            let started = Instant::now();
            let telling = async {
                for _ in 0..4 {
                    drop(told.next().await.expect("it goes on"));
                }
                started.elapsed().as_secs()
            };
            let news = async {
                loop {
                    drop(live.begins("client", Progress::default()));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            };
            let took = tokio::select! {
                took = telling => took,
                () = news => unreachable!("there are always news"),
            };
            // The first one comes at once, and each look is half a second apart.
            assert!(
                (3 * seconds..=3 * seconds + 2).contains(&took),
                "{clients}: {took}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_of_many_changes_is_told_as_well() {
        let (_views, context) = context_of(200);
        let live = context.live.clone();
        let places = Arc::new(Semaphore::new(1));
        let mut told = told(context, places.try_acquire_owned().expect("it is free"));
        drop(told.next().await.expect("the first one"));
        drop(live.begins("client", Progress::default()));
        drop(told.next().await.expect("it is told when its time has come"));
        let more = tokio::time::timeout(Duration::from_secs(60), told.next());
        assert!(more.await.is_err(), "nothing else has happened");
    }
}
