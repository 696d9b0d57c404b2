//! What the database says, asked at most once in a while, however many want to know.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::{
    sync::Mutex,
    time::{Instant, timeout},
};

use super::View;
use crate::{
    health::{self, ClientHealth},
    store::{self, UserCounts},
};

/// How long an answer is good for.
const GOOD_FOR: Duration = Duration::from_secs(2);

/// How long users that were counted are good for: counting reads an index over all of them.
const COUNTS_GOOD_FOR: Duration = Duration::from_secs(20);

/// After news they are counted anew, though never for more than such a part of the time.
const COUNTING_PART: u32 = 20;

/// Nobody waits for longer until they are counted.
const COUNTING_PATIENCE: Duration = Duration::from_secs(6);

/// A probe does not wait for longer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What the database says of the clients.
#[derive(Clone, Debug)]
pub struct Look {
    /// When it was asked.
    pub at: Instant,
    /// One for each configured client, in that order.
    pub health: Result<Vec<ClientHealth>, NotReady>,
}

impl Look {
    /// Time since the start of a client's newest complete pass, now.
    pub fn lag_s(&self, client: &ClientHealth) -> Option<f64> {
        client.lag_s.map(|lag| lag + self.at.elapsed().as_secs_f64())
    }
}

/// Why the database says nothing of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReady {
    /// It is away, or takes too long.
    #[error("{0}")]
    Database(store::Error),
    /// It has no tables, or older or newer ones than this version.
    #[error("{0}")]
    Migrations(String),
}

impl NotReady {
    /// As answers have it.
    pub const fn status(&self) -> &'static str {
        match self {
            Self::Database(_) => "database_unavailable",
            Self::Migrations(_) => "not_migrated",
        }
    }
}

/// The newest answers, each as of the view that it is of.
#[derive(Debug, Default)]
pub(super) struct Looks {
    newest: Mutex<Option<(Weak<View>, Arc<Look>)>>,
    counted: Mutex<Option<Counted>>,
}

#[derive(Debug)]
struct Counted {
    at: Instant,
    took: Duration,
    /// Another configuration may have another database.
    of: Weak<View>,
    /// What was the news then.
    news: u64,
    /// None where the database did not say.
    counts: Option<Arc<Vec<UserCounts>>>,
}

impl Counted {
    fn good_for(&self, news: u64) -> Duration {
        if self.news == news && self.counts.is_some() {
            COUNTS_GOOD_FOR
        } else {
            (self.took * COUNTING_PART).min(COUNTS_GOOD_FOR)
        }
    }
}

impl Looks {
    /// Whoever comes while somebody asks waits for that answer.
    pub(super) async fn look(&self, view: &Arc<View>) -> Arc<Look> {
        let mut newest = self.newest.lock().await;
        if let Some((of, look)) = newest.as_ref()
            && look.at.elapsed() < GOOD_FOR
            && of.as_ptr() == Arc::as_ptr(view)
        {
            return Arc::clone(look);
        }
        let health = match timeout(PATIENCE, ask(view)).await {
            Ok(health) => health,
            Err(_) => Err(NotReady::Database(store::Error::Unavailable(format!(
                "no answer within {} s",
                PATIENCE.as_secs()
            )))),
        };
        let look = Arc::new(Look {
            at: Instant::now(),
            health,
        });
        *newest = Some((Arc::downgrade(view), Arc::clone(&look)));
        look
    }

    /// How many users each client has, as of up to 20 seconds ago; none if the database does not say. `news` counts what could have
    /// changed it: where counting is a matter of milliseconds, they are counted anew.
    pub(super) async fn counts(&self, view: &Arc<View>, news: u64) -> Option<Arc<Vec<UserCounts>>> {
        let mut newest = self.counted.lock().await;
        if let Some(counted) = newest.as_ref()
            && counted.of.as_ptr() == Arc::as_ptr(view)
            && counted.at.elapsed() < counted.good_for(news)
        {
            return counted.counts.clone();
        }
        let began = Instant::now();
        let counts = timeout(COUNTING_PATIENCE, view.store.user_counts()).await;
        let counts = counts.ok().and_then(Result::ok).map(Arc::new);
        *newest = Some(Counted {
            at: Instant::now(),
            took: began.elapsed(),
            of: Arc::downgrade(view),
            news,
            counts: counts.clone(),
        });
        counts
    }
}

async fn ask(view: &View) -> Result<Vec<ClientHealth>, NotReady> {
    let migrations = |error: &store::Error| {
        let remedy = error
            .remedy()
            .map_or_else(String::new, |remedy| format!("; {remedy}"));
        NotReady::Migrations(format!("{error}{remedy}"))
    };
    match view.store.pending_migrations().await {
        Ok(0) => {}
        Ok(pending) => {
            return Err(NotReady::Migrations(format!(
                "the database lacks {pending} migrations; the next pass applies them, or `calmirror migrate`"
            )));
        }
        Err(error @ (store::Error::NotMigrated { .. } | store::Error::Newer(_))) => {
            return Err(migrations(&error));
        }
        Err(error) => return Err(NotReady::Database(error)),
    }
    let read = health::read(&view.store, &view.config.clients).await;
    read.map_err(|error| match error {
        store::Error::Missing(_) => migrations(&error),
        error => NotReady::Database(error),
    })
}
