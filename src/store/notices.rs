//! What the webhook was told of each client, and what it is to be told next.
//!
//! Of several daemons on one database, one claims a message and sends it. A claim ends by itself, so that a daemon that dies does
//! not keep others from trying.

use std::{collections::BTreeMap, time::Duration};

use chrono::{DateTime, Utc};

use super::{Error, Store};
use crate::model::ClientId;

/// What is on record of one client. A client without a record is as [`Notice::default`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Notice {
    /// What was told to be wrong and still is.
    pub told: Vec<String>,
    /// The receiver was told of something wrong since it was last told that all is well, or may have been.
    pub alarmed: bool,
    /// The pass that first held the set that was last told to be held.
    pub told_held: Option<i64>,
    /// When something was last told. What was decided before that is out of date, even if all else is on record as it was.
    pub told_at: Option<DateTime<Utc>>,
    /// That was within the time after which another set is told.
    pub told_lately: bool,
    pub due: Option<Due>,
    /// A daemon is sending the message.
    pub claimed: bool,
}

/// A message that is to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// `client.held` and the like.
    pub kind: String,
    /// What it says is wrong.
    pub wrong: Vec<String>,
    /// The pass that first held the set that it says is held.
    pub held: Option<i64>,
}

/// A message as it is put on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The same in each try.
    pub id: String,
    pub due: Due,
    /// As it is signed and sent.
    pub body: String,
}

/// A message that is ours to send.
#[derive(Clone, Debug)]
pub struct Claimed {
    pub client_id: String,
    pub message_id: String,
    pub kind: String,
    pub body: String,
    /// This one included.
    pub tries: u32,
    /// As it was before this try.
    alarmed: bool,
}

/// How a try ended that delivered nothing, as far as is known.
#[derive(Clone, Copy, Debug)]
pub struct Failed {
    /// The receiver may have taken it all the same.
    pub unsure: bool,
    /// Until the next try.
    pub wait: Duration,
}

struct Row {
    client_id: String,
    now: DateTime<Utc>,
    told: Vec<String>,
    alarmed: bool,
    message_type: Option<String>,
    due: Option<Vec<String>>,
    told_held: Option<i64>,
    due_held: Option<i64>,
    told_at: Option<DateTime<Utc>>,
    told_lately: bool,
    claimed: bool,
}

impl From<Row> for Notice {
    fn from(row: Row) -> Self {
        let due = row.message_type.zip(row.due);
        Self {
            told: row.told,
            alarmed: row.alarmed,
            told_held: row.told_held,
            told_at: row.told_at,
            told_lately: row.told_lately,
            due: due.map(|(kind, wrong)| Due {
                kind,
                wrong,
                held: row.due_held,
            }),
            claimed: row.claimed,
        }
    }
}

impl Store {
    /// What is on record of these clients, those that have a record. What was told within `lately` was told lately.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn notices(
        &self,
        clients: &[String],
        lately: Duration,
    ) -> Result<BTreeMap<String, Notice>, Error> {
        let mut tx = self.begin().await?;
        let rows = sqlx::query_as!(
            Row,
            r#"
            select
                client_id, now() as "now!", told, alarmed, message_type, due, told_held, due_held, told_at,
                coalesce(told_at > now() - make_interval(secs => $2), false) as "told_lately!",
                coalesce(claimed_until > now(), false) as "claimed!"
            from client_notices where client_id = any($1)
            "#,
            clients,
            lately.as_secs_f64(),
        )
        .fetch_all(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(rows
            .into_iter()
            .map(|row| (row.client_id.clone(), row.into()))
            .collect())
    }

    /// Puts on record what is still wrong of what was told, and the message that is to be told now, by what was decided on
    /// `seen`. False, with nothing done, if that is no longer what is on record: somebody else was faster.
    ///
    /// `message` is made of the database's time. One that says the same of another set of removals is tried when the one before it
    /// would have been: a receiver that is away is not asked more often for it.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn notify_next(
        &self,
        client: &ClientId,
        seen: &Notice,
        lately: Duration,
        told: &[String],
        message: impl FnOnce(DateTime<Utc>) -> Option<Message> + Send,
    ) -> Result<bool, Error> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            "insert into client_notices (client_id) values ($1) on conflict (client_id) do nothing",
            client.as_str(),
        )
        .execute(&mut tx)
        .await?;
        let row = sqlx::query_as!(
            Row,
            r#"
            select
                client_id, now() as "now!", told, alarmed, message_type, due, told_held, due_held, told_at,
                coalesce(told_at > now() - make_interval(secs => $2), false) as "told_lately!",
                coalesce(claimed_until > now(), false) as "claimed!"
            from client_notices where client_id = $1
            for update
            "#,
            client.as_str(),
            lately.as_secs_f64(),
        )
        .fetch_one(&mut tx)
        .await?;
        let now = row.now;
        if Notice::from(row) != *seen {
            tx.rollback().await?;
            return Ok(false);
        }
        let message = message(now);
        let due = message.as_ref().map(|message| &message.due);
        sqlx::query!(
            r#"
            update client_notices set
                told = $2, message_id = $3, message_type = $4, due = $5, body = $6, due_held = $7,
                tries = case when message_type = $4 and due = $5 then tries else 0 end,
                next_try_at = case
                    when $3::text is null then null
                    when message_type = $4 and due = $5 then next_try_at
                    else now()
                end,
                claimed_until = null
            where client_id = $1
            "#,
            client.as_str(),
            told,
            message.as_ref().map(|message| message.id.as_str()),
            due.map(|due| due.kind.as_str()),
            due.map(|due| due.wrong.as_slice()),
            message.as_ref().map(|message| message.body.as_str()),
            due.and_then(|due| due.held),
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(true)
    }

    /// Claims a message of one of these clients that may be sent now, for so long. None if there is none.
    ///
    /// Whoever claims it has until then to say what became of it.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn claim_notice(&self, clients: &[String], lease: Duration) -> Result<Option<Claimed>, Error> {
        let mut tx = self.begin().await?;
        let claimed = sqlx::query!(
            r#"
            update client_notices as n set
                claimed_until = now() + make_interval(secs => $2),
                tries = n.tries + 1,
                -- Until the answer says otherwise.
                alarmed = n.alarmed or n.message_type <> 'client.well'
            from (
                select client_id, alarmed from client_notices
                where client_id = any($1) and next_try_at <= now()
                    and (claimed_until is null or claimed_until <= now())
                order by next_try_at
                limit 1
                for update skip locked
            ) as next
            where n.client_id = next.client_id
            returning
                n.client_id, n.message_id as "message_id!", n.message_type as "kind!", n.body as "body!", n.tries,
                next.alarmed
            "#,
            clients,
            lease.as_secs_f64(),
        )
        .fetch_optional(&mut tx)
        .await?;
        tx.commit().await?;
        Ok(claimed.map(|row| Claimed {
            client_id: row.client_id,
            message_id: row.message_id,
            kind: row.kind,
            body: row.body,
            tries: u32::try_from(row.tries).unwrap_or_default(),
            alarmed: row.alarmed,
        }))
    }

    /// A claimed message was taken.
    ///
    /// # Errors
    ///
    /// What Postgres says. The message is sent once more then, with the same identity.
    pub async fn notice_delivered(&self, claimed: &Claimed) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            r#"
            update client_notices set
                told = due, told_held = due_held, told_at = now(), alarmed = message_type <> 'client.well',
                message_id = null, message_type = null, due = null, due_held = null, body = null, tries = 0,
                next_try_at = null, claimed_until = null
            where client_id = $1 and message_id = $2
            "#,
            claimed.client_id,
            claimed.message_id,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// A claimed message was not taken, or nobody knows.
    ///
    /// # Errors
    ///
    /// What Postgres says. The message may be sent again when its claim is over then.
    pub async fn notice_failed(&self, claimed: &Claimed, failed: Failed) -> Result<(), Error> {
        let mut tx = self.begin().await?;
        sqlx::query!(
            r#"
            update client_notices set
                next_try_at = now() + make_interval(secs => $3), claimed_until = null,
                alarmed = case when $4 then alarmed else $5 end
            where client_id = $1 and message_id = $2
            "#,
            claimed.client_id,
            claimed.message_id,
            failed.wait.as_secs_f64(),
            failed.unsure,
            claimed.alarmed,
        )
        .execute(&mut tx)
        .await?;
        tx.commit().await
    }

    /// How long until a message of one of these clients may be sent; none where there is none.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn next_notice_in(&self, clients: &[String]) -> Result<Option<Duration>, Error> {
        let mut tx = self.begin().await?;
        let seconds = sqlx::query_scalar!(
            r#"
            select extract(epoch from min(greatest(next_try_at, claimed_until)) - now())::double precision
            from client_notices where client_id = any($1) and message_id is not null
            "#,
            clients,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::ZERO)))
    }
}
