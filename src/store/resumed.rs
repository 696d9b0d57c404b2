//! Passes that go on where an earlier one was cut.

use chrono::{DateTime, Utc};

use super::{BeginRun, Error, Run, Store, tx::Tx};
use crate::model::UserId;

/// So many missing users and rejects are asked for again at most; with more of them a pass begins from the start.
const MAX_TROUBLED: i32 = 10_000;

/// What a pass goes on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resumed {
    /// The pass that was cut.
    pub run: i64,
    /// When the first of the passes began that this one goes on from.
    pub began_at: DateTime<Utc>,
    /// Every watched user with an id up to this one was dealt with.
    pub done_to: Option<UserId>,
}

/// What the client's newest pass left, if it was cut late enough, looked at the same users, and at the same source.
pub(super) async fn find(tx: &mut Tx, begin: &BeginRun<'_>, newest: i64) -> Result<Option<Resumed>, Error> {
    let Some(since) = begin.resume_since.filter(|_| !begin.accept_source) else {
        return Ok(None);
    };
    let cut = sqlx::query!(
        r#"
        select r.run_id, r.began_at as "began_at!", r.done_to
        from sync_runs as r
        join sync_state as s on s.client_id = r.client_id
        where r.run_id = $1 and r.client_id = $2 and s.base_url = $3 and r.watched = $4
            and r.done_to is not null and r.began_at is not null
            and (r.outcome is null or r.outcome in ('partial', 'failed'))
            and r.trigger in ('schedule', 'operator')
            and greatest(r.heartbeat_at, r.started_at) >= $5
            and (
                select count(*) from (
                    select from missing_users as m where m.client_id = $2 and m.user_id <= r.done_to
                    union all
                    select from rejects as j where j.client_id = $2 and j.user_id <= r.done_to
                    limit $6 + 1
                ) as troubled
            ) <= $6
        "#,
        newest,
        begin.client_id.as_str(),
        begin.base_url,
        begin.watched,
        since,
        MAX_TROUBLED,
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(cut.map(|cut| Resumed {
        run: cut.run_id,
        began_at: cut.began_at,
        done_to: cut.done_to.map(UserId),
    }))
}

impl Store {
    /// Users whom a resumed pass asks for although they were dealt with: whether they are missing or cannot be read is what each
    /// pass has to know by itself. Ascending.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn troubled(&self, run: &Run) -> Result<Vec<UserId>, Error> {
        let Some(done_to) = run.resumed.and_then(|resumed| resumed.done_to) else {
            return Ok(Vec::new());
        };
        let mut tx = self.begin().await?;
        let users = sqlx::query_scalar!(
            r#"
            select user_id as "user_id!" from missing_users where client_id = $1 and user_id <= $2
            union
            select user_id from rejects where client_id = $1 and user_id <= $2
            order by 1
            "#,
            run.client_id.as_str(),
            done_to.0,
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(users.into_iter().map(UserId).collect())
    }
}
