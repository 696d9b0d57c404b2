//! What Cal.com last said of each client's rate limit.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;

use super::{Error, Store};
use crate::model::{ClientId, RateState};

impl Store {
    /// What was last noted of a client's rate limit, as far as it is not over by the database's clock. `None` where there is nothing.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn rate_limit(&self, client: &ClientId) -> Result<Option<RateState>, Error> {
        let mut tx = self.begin().await?;
        let row = sqlx::query!(
            r#"
            select remaining,
                   extract(epoch from resets_at - now())::float8 as resets_in,
                   extract(epoch from blocked_until - now())::float8 as blocked_for
            from rate_limits where client_id = $1
            "#,
            client.as_str(),
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.rollback().await?;
        let state = row.map(|row| {
            let resets_in = to_come(row.resets_in);
            RateState {
                // Of a window that is over it says nothing.
                remaining: resets_in.and(row.remaining).and_then(|left| left.try_into().ok()),
                resets_in,
                blocked_for: to_come(row.blocked_for),
            }
        });
        Ok(state.filter(|state| !state.is_unknown()))
    }

    /// Notes what is left of a client's rate limit, less the requests that may be made before it is noted again. A block that was
    /// noted before stays for as long as it lasts.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn note_rate_limit(
        &self,
        client: &ClientId,
        state: &RateState,
        ahead: u64,
    ) -> Result<(), Error> {
        let remaining = state.remaining.map(|left| {
            let left = left.saturating_sub(ahead);
            i64::try_from(left).unwrap_or(i64::MAX)
        });
        // A block that is not heeded grows. Where nothing may be left by the next note, the first that whoever does not know of it hears
        // may be the 429 that begins a block. So neither is lost with the server; the rest is heard again in time.
        let mut tx = if state.blocked_for.is_some() || remaining == Some(0) {
            self.begin().await?
        } else {
            self.begin_lightly().await?
        };
        sqlx::query!(
            "insert into rate_limits as noted (client_id, noted_at, remaining, resets_at, blocked_until)
             values ($1, now(), $2, now() + $3::interval, now() + $4::interval)
             on conflict (client_id) do update
             set noted_at = excluded.noted_at,
                 remaining = excluded.remaining,
                 resets_at = excluded.resets_at,
                 blocked_until = greatest(noted.blocked_until, excluded.blocked_until)",
            client.as_str(),
            remaining,
            state.resets_in.map(interval),
            state.blocked_for.map(interval),
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }
}

fn to_come(seconds: Option<f64>) -> Option<Duration> {
    let wait = Duration::try_from_secs_f64(seconds?).ok()?;
    (!wait.is_zero()).then_some(wait)
}

fn interval(wait: Duration) -> PgInterval {
    PgInterval {
        months: 0,
        days: 0,
        microseconds: i64::try_from(wait.as_micros()).unwrap_or(i64::MAX),
    }
}
