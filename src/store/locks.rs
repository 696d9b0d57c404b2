//! Who is in the way.

use std::time::Duration;

use super::{Error, Store, tx::Tx};

const PATIENCE: Duration = Duration::from_secs(5);

impl Store {
    /// Adds to an [`Error::Busy`] which session holds locks on the mirror's tables, if one still does; of several the one
    /// whose transaction is the oldest. Other errors come back as they are.
    pub async fn name_holder(&self, error: Error) -> Error {
        let Error::Busy(message) = error else {
            return error;
        };
        let asked = async {
            let mut tx = self.begin().await?;
            let holder = holder(&mut tx).await?;
            tx.rollback().await?;
            Ok::<_, Error>(holder)
        };
        // Whoever does not answer this soon is not asked for so little.
        let asked = tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".to_owned())));
        match asked {
            Ok(Some(holder)) => Error::Busy(format!("{message}; {holder}")),
            Ok(None) => Error::Busy(message),
            Err(error) => {
                tracing::debug!(error = %error, "who holds the lock could not be asked");
                Error::Busy(message)
            }
        }
    }
}

/// Readers hold an `AccessShareLock` and are in nobody's way here.
async fn holder(tx: &mut Tx) -> Result<Option<String>, Error> {
    let holder = sqlx::query!(
        r#"
        select a.pid as "pid!", a.usename as "user?", a.application_name as "application?",
            extract(epoch from now() - a.xact_start)::bigint as "seconds?"
        from pg_locks as l
        join pg_stat_activity as a on a.pid = l.pid
        join pg_class as c on c.oid = l.relation
        join pg_database as d on d.oid = l.database
        where l.locktype = 'relation' and l.granted and l.mode <> 'AccessShareLock'
            and l.pid <> pg_backend_pid()
            and d.datname = current_database() and c.relnamespace = to_regnamespace(current_schema())
        order by a.xact_start
        limit 1
        "#,
    )
    .fetch_optional(tx)
    .await?;
    Ok(holder.map(|holder| {
        let user = holder.user.unwrap_or_default();
        let application = holder.application.unwrap_or_default();
        // Since when is shown to those only who may see it.
        let time = holder.seconds.map_or_else(
            || "holds locks on the mirror's tables".to_owned(),
            |seconds| format!("has held locks on the mirror's tables for {seconds} s"),
        );
        format!(
            "session {} of user {user:?} (application {application:?}) {time}",
            holder.pid
        )
    }))
}
