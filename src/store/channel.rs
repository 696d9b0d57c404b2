//! Telling applications of each change as it is committed, on a channel of Postgres.
//!
//! What is told in a transaction is delivered with its commit, and not at all without one. Nobody has to listen. NOTIFY needs no
//! session, so PgBouncer may stand in between here; whoever listens needs a session of its own.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

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

/// Versions that were written, column by column, as `unnest` takes them.
#[derive(Debug, Default)]
pub(super) struct Versions {
    ids: Vec<i64>,
    kinds: Vec<String>,
    versions: Vec<i32>,
}

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

impl<'a> FromIterator<(i64, &'a str, i32)> for Versions {
    fn from_iter<I: IntoIterator<Item = (i64, &'a str, i32)>>(written: I) -> Self {
        let mut versions = Self::default();
        for (id, kind, version) in written {
            versions.ids.push(id);
            versions.kinds.push(kind.to_owned());
            versions.versions.push(version);
        }
        versions
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
        if written.ids.is_empty() {
            return Ok(());
        }
        // Of a full queue Postgres makes an error of our commit. Somebody who listens and does not read must not stop the mirror.
        let told = sqlx::query_scalar!(
            r#"
            select count(pg_notify('managed_users', json_build_object(
                'id', w.id, 'kind', w.kind, 'version', w.version, 'client_id', $4::text,
                'schema', current_schema()
            )::text)) as "told!"
            from unnest($1::bigint[], $2::text[], $3::integer[]) as w (id, kind, version)
            where (select pg_notification_queue_usage()) < 0.5
            "#,
            &written.ids,
            &written.kinds,
            &written.versions,
            client.as_str(),
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
        sqlx::query_scalar!(
            r#"
            select count(pg_notify('managed_users', json_build_object(
                'id', $1::bigint, 'kind', 'forget', 'version', null, 'client_id', null,
                'schema', current_schema()
            )::text)) as "told!"
            "#,
            user,
        )
        .fetch_one(tx)
        .await?;
        Ok(())
    }
}
