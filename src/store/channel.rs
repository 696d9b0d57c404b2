//! Telling applications of each change as it is committed, on a channel of Postgres.
//!
//! What is told in a transaction is delivered with its commit, and not at all without one. Nobody has to listen. NOTIFY needs no
//! session, so PgBouncer may stand in between here; whoever listens needs a session of its own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use serde::Serialize;

use super::{Error, Store, tx::Tx};
use crate::{compare::ChangeSet, model::ClientId};

/// What a store tells on the channel.
#[derive(Clone, Debug)]
pub(super) enum Channel {
    Silent,
    /// With whether the queue was found to be filling up, which is said once.
    Telling {
        is_filling: Arc<AtomicBool>,
    },
}

impl Default for Channel {
    fn default() -> Self {
        Self::Telling {
            is_filling: Arc::default(),
        }
    }
}

/// Versions that were written: whose, of what kind, and which.
#[derive(Debug, Default)]
pub(super) struct Versions(Vec<(i64, &'static str, i32)>);

impl Versions {
    pub(super) fn of(set: &ChangeSet) -> Self {
        let changes = set
            .changes()
            .map(|change| (change.user_id().0, change.kind.as_str(), change.version));
        let removals = set
            .removals
            .iter()
            .map(|removal| (removal.user_id.0, "removal", removal.version));
        changes.chain(removals).collect()
    }
}

impl FromIterator<(i64, &'static str, i32)> for Versions {
    fn from_iter<I: IntoIterator<Item = (i64, &'static str, i32)>>(written: I) -> Self {
        Self(written.into_iter().collect())
    }
}

/// What listeners get. Put together here: Postgres takes twice as long for it as for the rest of telling.
#[derive(Debug, Serialize)]
struct Told<'a> {
    id: i64,
    kind: &'a str,
    version: Option<i32>,
    client_id: Option<&'a str>,
    schema: &'a str,
}

impl Told<'_> {
    fn text(&self) -> Result<String, Error> {
        serde_json::to_string(self).map_err(|error| Error::Refused(error.to_string()))
    }
}

impl Store {
    /// The same store, which tells nobody of what it writes.
    #[must_use]
    pub fn silent(mut self) -> Self {
        self.channel = Channel::Silent;
        self
    }

    /// Tells of what this transaction writes.
    pub(super) async fn tell(&self, tx: &mut Tx, client: &ClientId, written: Versions) -> Result<(), Error> {
        let Channel::Telling { is_filling } = &self.channel else {
            return Ok(());
        };
        let told = written.0.into_iter().map(|(id, kind, version)| {
            let told = Told {
                id,
                kind,
                version: Some(version),
                client_id: Some(client.as_str()),
                schema: &self.schema,
            };
            told.text()
        });
        let told = told.collect::<Result<Vec<String>, Error>>()?;
        if told.is_empty() {
            return Ok(());
        }
        // Of a full queue Postgres makes an error of our commit. Somebody who listens and does not read must not stop the mirror.
        let told = sqlx::query_scalar!(
            r#"
            select count(pg_notify('managed_users', told)) as "told!"
            from unnest($1::text[]) as told
            where (select pg_notification_queue_usage()) < 0.5
            "#,
            &told,
        )
        .fetch_one(tx)
        .await?;
        if told > 0 {
            is_filling.store(false, Ordering::Relaxed);
        } else if !is_filling.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "postgres's queue of notifications is half full, so changes are not told on the channel managed_users until \
                 it has room; end the session that listens and does not read (see pg_stat_activity)"
            );
        }
        Ok(())
    }

    /// Tells that a user was erased in this transaction: what others hold of it has to go as well.
    pub(super) async fn tell_forgotten(&self, tx: &mut Tx, user: i64) -> Result<(), Error> {
        if matches!(self.channel, Channel::Silent) {
            return Ok(());
        }
        let told = Told {
            id: user,
            kind: "forget",
            version: None,
            client_id: None,
            schema: &self.schema,
        };
        sqlx::query!("select pg_notify('managed_users', $1)", told.text()?)
            .fetch_one(tx)
            .await?;
        Ok(())
    }
}
