//! The instants at which `managed_users_as_of` is proven.

use chrono::{DateTime, TimeDelta, Utc};

use super::Instants;
use crate::store::{Error, tx::Tx};

/// Chooses instants in the time that the ledger tells of. Every other one is that of a change, to the microsecond: where one
/// version ends and the next begins is where a fold goes wrong most easily.
pub(super) async fn choose(tx: &mut Tx, wanted: Instants) -> Result<Vec<DateTime<Utc>>, Error> {
    if wanted.count == 0 {
        return Ok(Vec::new());
    }
    let span = sqlx::query!(
        r#"
        select
            min(change_id) as first_id, max(change_id) as last_id,
            -- The function says nothing of earlier times than where the ledger is whole.
            greatest(min(observed_at), (select history_from from retention)) as first,
            greatest(max(observed_at), (select history_from from retention)) as last
        from managed_user_changes
        where observed_at >= '0001-01-01' and observed_at < '10000-01-01'
        "#
    )
    .fetch_one(&mut *tx)
    .await?;
    let (Some(first_id), Some(last_id), Some(first), Some(last)) =
        (span.first_id, span.last_id, span.first, span.last)
    else {
        return Ok(Vec::new());
    };
    let length = (last - first).num_microseconds().unwrap_or(i64::MAX).max(0);
    let mut random = fastrand::Rng::with_seed(wanted.seed);
    let mut instants = Vec::with_capacity(wanted.count);
    for position in 0..wanted.count {
        let somewhere = first + TimeDelta::microseconds(random.i64(0..=length));
        let change = random.i64(first_id..=last_id);
        let of_change = if position % 2 == 0 {
            None
        } else {
            time_of_change(tx, change).await?
        };
        instants.push(of_change.unwrap_or(somewhere));
    }
    instants.sort_unstable();
    instants.dedup();
    Ok(instants)
}

async fn time_of_change(tx: &mut Tx, id: i64) -> Result<Option<DateTime<Utc>>, Error> {
    let time = sqlx::query_scalar!(
        "select observed_at from managed_user_changes
         where change_id >= $1 and observed_at >= '0001-01-01' and observed_at < '10000-01-01'
            and observed_at >= coalesce((select history_from from retention), '-infinity')
         order by change_id limit 1",
        id,
    )
    .fetch_optional(&mut *tx)
    .await?;
    Ok(time)
}
