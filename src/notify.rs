//! Telling a webhook when a client becomes held, stale, refused, or well again.
//!
//! What is told is what the tables say, and what was told stands in the tables: so neither a restart nor another daemon repeats
//! it. While the database is away nothing is known, and nothing is told. A message is sent until it is delivered, or until it is no
//! longer true; nothing of this is waited for by a pass.

mod decision;
mod message;
mod sender;
mod signature;

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    clock::{Clock, SystemClock},
    config,
    health::{self, ClientHealth},
    live::Live,
    measured,
    retry::Policy,
    server::View,
    store::{self, Claimed, Failed, Message, Store},
    sync::bounded,
};

pub use decision::{Decision, decide};
pub use sender::{Sender, Undelivered};
pub use signature::sign;

/// How often things are looked at, and how a message is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// A mirror becomes stale by itself, so things are looked at this often without news.
    pub look: Duration,
    /// Between two looks, however much news there is.
    pub rest: Duration,
    /// How long to wait for the next try; how many there may be does not matter.
    pub retry: Policy,
    /// At least so long where somebody has to change something first.
    pub slow: Duration,
    /// Longer than a try takes. A daemon that dies in a try keeps others from it for so long.
    pub lease: Duration,
    /// For so long after a message, a set of removals that replaces the one that was told is not told.
    pub lately: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            look: Duration::from_secs(30),
            rest: Duration::from_secs(1),
            retry: Policy {
                max_tries: u32::MAX,
                first_wait: Duration::from_secs(10),
                max_wait: LONGEST_WAIT,
            },
            slow: Duration::from_secs(5 * 60),
            lease: Duration::from_secs(60),
            lately: Duration::from_secs(60 * 60),
        }
    }
}

/// Also of what a receiver asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(60 * 60);

/// Messages of so many clients are under way at once, so that a slow receiver does not keep one client waiting for all others.
const LANES: usize = 4;

/// After a start, what the first passes find is waited for: a mirror that was left alone for long is stale at first, as a rule,
/// and fresh a moment later.
const FIRST_PASSES: Duration = Duration::from_secs(60);

/// What a try may still take when the process ends, and what is left for putting its end on record.
const LAST_TRY: Duration = Duration::from_secs(2);
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Watches clients on behalf of one receiver.
#[derive(Debug)]
pub struct Notifier {
    sender: Sender,
    pace: Pace,
    /// The receiver wants no more messages.
    gone: AtomicBool,
}

impl Notifier {
    pub fn new(sender: Sender, pace: Pace) -> Self {
        Self {
            sender,
            pace,
            gone: AtomicBool::new(false),
        }
    }

    /// Looks at each client, puts on record what is to be told, and sends what is due. Gives the time until there is something to
    /// do again, if nothing happens; none when the receiver wants no more messages.
    ///
    /// Ends soon after `cancel` is cancelled.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn round(
        &self,
        store: &Store,
        clients: &[config::Client],
        cancel: &CancellationToken,
    ) -> Result<Option<Duration>, store::Error> {
        if self.is_gone() {
            return Ok(None);
        }
        let ids: Vec<String> = clients.iter().map(|client| client.id.0.clone()).collect();
        // In this order: whoever tells something in between has changed what is on record, and nothing is decided by a look that
        // is older than what is on record.
        let notices = bounded(store.notices(&ids, self.pace.lately)).await?;
        let healths = bounded(health::read(store, clients)).await?;
        for (client, health) in clients.iter().zip(&healths) {
            let notice = notices.get(client.id.as_str()).cloned().unwrap_or_default();
            let Some(Decision { told, due }) = decide(&notice, health) else {
                continue;
            };
            let message = |now| {
                due.map(|due| Message {
                    id: message::new_id(),
                    body: message::body(&due.kind, now, health),
                    due,
                })
            };
            // If somebody else was faster, there will be another look.
            bounded(store.notify_next(&client.id, &notice, self.pace.lately, &told, message)).await?;
        }
        // Each message once, however soon it may be tried again.
        let untried = Mutex::new(ids.clone());
        let lanes = (0..LANES).map(|_| self.send_due(store, &untried, &healths, cancel));
        for ended in join_all(lanes).await {
            ended?;
        }
        if self.is_gone() {
            return Ok(None);
        }
        let next = bounded(store.next_notice_in(&ids)).await?;
        Ok(Some(next.unwrap_or(Duration::MAX).min(self.pace.look)))
    }

    /// Sends one message after the other until none is due.
    async fn send_due(
        &self,
        store: &Store,
        untried: &Mutex<Vec<String>>,
        healths: &[ClientHealth],
        cancel: &CancellationToken,
    ) -> Result<(), store::Error> {
        while !cancel.is_cancelled() && !self.is_gone() {
            let ids = untried.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let Some(claimed) = bounded(store.claim_notice(&ids, self.pace.lease)).await? else {
                break;
            };
            untried
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .retain(|id| *id != claimed.client_id);
            let health = healths
                .iter()
                .find(|health| health.client_id == claimed.client_id);
            let name = health.map_or(claimed.client_id.as_str(), |health| health.client.as_str());
            let overdue = async {
                cancel.cancelled().await;
                sleep(LAST_TRY).await;
            };
            let sent = tokio::select! {
                biased;
                sent = self.sender.send(&claimed.message_id, &claimed.body) => Some(sent),
                () = overdue => None,
            };
            match sent {
                Some(Ok(_)) => {
                    count("delivered");
                    tracing::info!(
                        client.name = name,
                        notice.kind = claimed.kind,
                        notice.tries = claimed.tries,
                        "told the webhook"
                    );
                    bounded(store.notice_delivered(&claimed)).await?;
                }
                Some(Err(error)) => {
                    let failed = self.failed(name, &claimed, &error);
                    bounded(store.notice_failed(&claimed, failed)).await?;
                }
                None => {
                    let failed = Failed {
                        unsure: true,
                        wait: Duration::ZERO,
                    };
                    bounded(store.notice_failed(&claimed, failed)).await?;
                }
            }
        }
        Ok(())
    }

    fn failed(&self, name: &str, claimed: &Claimed, error: &Undelivered) -> Failed {
        let mut wait = self.pace.retry.wait(claimed.tries, fastrand::f64());
        if error.needs_somebody() {
            wait = wait.max(self.pace.slow);
        }
        if let Some(asked) = error.retry_after() {
            wait = wait.max(asked.min(LONGEST_WAIT));
        }
        let kind = claimed.kind.as_str();
        if matches!(error, Undelivered::Gone { .. }) {
            metrics::gauge!(measured::WEBHOOK_GONE).set(1.0);
            count("gone");
            if !self.gone.swap(true, Ordering::Relaxed) {
                let remedy = error.remedy();
                tracing::warn!("{error}: it is told nothing more before a reload or a restart; {remedy}");
            }
        } else {
            count("failed");
            // Once a message: it goes on for as long as it takes.
            if claimed.tries == 1 {
                let (wait_s, remedy) = (wait.as_secs(), error.remedy());
                tracing::warn!(
                    client.name = name,
                    notice.kind = kind,
                    notice.wait_s = wait_s,
                    "the webhook could not be told: {error}; {remedy}"
                );
            } else {
                let tries = claimed.tries;
                tracing::debug!(
                    client.name = name,
                    notice.kind = kind,
                    notice.tries = tries,
                    "the webhook could not be told: {error}"
                );
            }
        }
        Failed {
            unsure: error.is_unsure(),
            wait,
        }
    }

    fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Relaxed)
    }
}

/// Tells the webhook of the configuration in force, if it has one, until `cancel` is cancelled or nobody sends another
/// configuration any more. Ends within three seconds of the former.
pub async fn run(view: watch::Receiver<Arc<View>>, live: Live, cancel: CancellationToken) {
    let overdue = async {
        cancel.cancelled().await;
        sleep(LAST_TRY + LAST_WORDS).await;
    };
    tokio::select! {
        () = watch(view, live, &cancel) => {}
        // A database that does not answer is waited for by nobody.
        () = overdue => {}
    }
}

async fn watch(mut view: watch::Receiver<Arc<View>>, live: Live, cancel: &CancellationToken) {
    let mut news = live.news();
    first_passes(&view, &live, &mut news, cancel).await;
    while !cancel.is_cancelled() {
        let current = Arc::clone(&view.borrow_and_update());
        let notifier = of(&current.config.notify);
        // Whatever was said to the one before.
        metrics::gauge!(measured::WEBHOOK_GONE).set(0.0);
        loop {
            let rest = Instant::now() + Pace::default().rest;
            // Another configuration may have another receiver, and does not wait for this one.
            let until = cancel.child_token();
            let looking = async {
                let wait = match &notifier {
                    Some(notifier) => look(notifier, &current, &until).await,
                    None => None,
                };
                until.cancel();
                wait
            };
            let reloaded = async {
                let changed = until.run_until_cancelled(view.changed()).await;
                until.cancel();
                changed
            };
            let (wait, reloaded) = tokio::join!(looking, reloaded);
            match reloaded {
                Some(Ok(())) => break,
                Some(Err(_)) => return,
                None => {}
            }
            let due = async {
                let Some(wait) = wait else {
                    return std::future::pending().await;
                };
                let until = Instant::now() + wait;
                tokio::time::sleep_until(rest).await;
                // Whether by news or by time.
                drop(timeout_at(until, news.changed()).await);
            };
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = view.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = due => {}
            }
        }
    }
}

async fn look(notifier: &Notifier, view: &View, cancel: &CancellationToken) -> Option<Duration> {
    match notifier
        .round(&view.own_store, &view.config.clients, cancel)
        .await
    {
        Ok(wait) => wait,
        Err(error) => {
            // Passes say it louder.
            tracing::debug!(%error, "what the webhook is to be told cannot be found out");
            Some(notifier.pace.look)
        }
    }
}

fn of(config: &config::Notify) -> Option<Notifier> {
    let webhook = config.webhook.as_ref()?;
    match Sender::new(webhook) {
        Ok(sender) => Some(Notifier::new(sender, Pace::default())),
        Err(error) => {
            let remedy = error.remedy();
            tracing::error!("the webhook is told nothing: {error}; {remedy}");
            None
        }
    }
}

/// Waits until each client has had a pass, though not for long.
async fn first_passes(
    view: &watch::Receiver<Arc<View>>,
    live: &Live,
    news: &mut watch::Receiver<u64>,
    cancel: &CancellationToken,
) {
    let until = Instant::now() + FIRST_PASSES;
    let have_ended = async {
        loop {
            let reports = live.reports();
            let all = view
                .borrow()
                .config
                .clients
                .iter()
                .all(|client| reports.contains_key(&client.name));
            if all || news.changed().await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {}
        _ = timeout_at(until, have_ended) => {}
    }
}

/// Sends a message that tries the receiver.
///
/// # Errors
///
/// When it was not delivered, as far as is known.
pub async fn try_receiver(webhook: &config::Webhook) -> Result<(), Undelivered> {
    let body = message::test_body(SystemClock.now());
    Sender::new(webhook)?
        .send(&message::new_id(), &body)
        .await
        .map(drop)
}

fn count(result: &'static str) {
    metrics::counter!(measured::NOTIFICATIONS, "result" => result).increment(1);
}
