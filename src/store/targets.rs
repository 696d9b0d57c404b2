//! Whom to ask for, with what spares reading the answers.

use std::fmt::Write;

use chrono::{DateTime, SecondsFormat, Utc};

use super::{
    Error, Store, Unsettled,
    copy::{Reader, quote_literal},
    tx::Tx,
};
use crate::model::{ClientId, Fingerprint, UserId};

/// A live user of the mirror, as far as has to be known of it to ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownTarget {
    pub id: UserId,
    /// As the mirror has it, with the suffix of the client.
    pub email: String,
    /// Of the record that the row was made from. None where an answer has to be read whatever its bytes are: the user is on
    /// record as missing or as a reject, or nobody has noted its fingerprint.
    pub fingerprint: Option<Fingerprint>,
    /// The user was observed to be as the row has it at the given time or later: the row was written since then, and not set back.
    pub changed_since: bool,
}

/// Which users are read.
#[derive(Clone, Copy, Debug)]
enum Span {
    After(Option<UserId>),
    /// From the first to the last, both included.
    Between(UserId, UserId),
}

/// One reading.
#[derive(Debug)]
struct Selection<'a> {
    client: &'a ClientId,
    unsettled: &'a Unsettled,
    since: Option<DateTime<Utc>>,
    span: Span,
    /// Of the span, only these.
    only: Option<&'a [UserId]>,
    limit: Option<usize>,
}

impl Store {
    /// Those of the given users that are live users of the client. Both are in ascending order of ids, and no id comes twice.
    ///
    /// Meant for up to 10,000 users at a time, which take a megabyte or two.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn targets(
        &self,
        client: &ClientId,
        watched: &[UserId],
        unsettled: &Unsettled,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<KnownTarget>, Error> {
        debug_assert!(watched.is_sorted());
        let (Some(first), Some(last)) = (watched.first(), watched.last()) else {
            return Ok(Vec::new());
        };
        let mut tx = self.begin_batch().await?;
        // A row of the span costs half of what one costs that is looked up. As a rule all of the span are watched; where it
        // is others that come, the rest is looked up.
        let limit = watched.len() + watched.len() / 2;
        let whole = Selection {
            client,
            unsettled,
            since,
            span: Span::Between(*first, *last),
            only: None,
            limit: Some(limit),
        };
        let read = whole.read(&mut tx).await?;
        let rest = match read.last() {
            Some(target) if read.len() == limit => {
                &watched[watched.partition_point(|user| *user <= target.id)..]
            }
            _ => &[],
        };
        let mut targets = only_among(read, watched);
        if let Some(first) = rest.first() {
            let rest = Selection {
                span: Span::Between(*first, *last),
                only: Some(rest),
                limit: None,
                ..whole
            };
            targets.extend(rest.read(&mut tx).await?);
        }
        tx.rollback().await?;
        Ok(targets)
    }

    /// The client's live users in ascending order of ids, from the first after the given one; all of them, if there are fewer
    /// than the limit.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn live_targets(
        &self,
        client: &ClientId,
        after: Option<UserId>,
        limit: usize,
        unsettled: &Unsettled,
        since: Option<DateTime<Utc>>,
    ) -> Result<Vec<KnownTarget>, Error> {
        let mut tx = self.begin_batch().await?;
        let selection = Selection {
            client,
            unsettled,
            since,
            span: Span::After(after),
            only: None,
            limit: Some(limit),
        };
        let targets = selection.read(&mut tx).await?;
        tx.rollback().await?;
        Ok(targets)
    }
}

impl Selection<'_> {
    async fn read(&self, tx: &mut Tx) -> Result<Vec<KnownTarget>, Error> {
        let sent = tx.copy_out(&self.statement()).await?;
        let mut rows = Reader::new(&sent)?;
        let mut targets = Vec::with_capacity(self.limit.unwrap_or_default().min(sent.len() / 64));
        let fields = if self.since.is_some() { 4 } else { 3 };
        while let Some(mut row) = rows.row(fields)? {
            let id = UserId(row.bigint()?);
            let email = row.text()?.to_owned();
            let fingerprint = row.array()?.map(Fingerprint::from_bytes);
            targets.push(KnownTarget {
                id,
                email,
                fingerprint: fingerprint.filter(|_| !self.unsettled.contains(id)),
                changed_since: self.since.is_some() && row.boolean()?,
            });
        }
        Ok(targets)
    }

    /// COPY takes no parameters.
    fn statement(&self) -> String {
        let client = quote_literal(self.client.as_str());
        // A row that was set back was not observed, which folding forgets, and none was in the future.
        let changed_since = self.since.map(|since| {
            let since = quote_literal(&since.to_rfc3339_opts(SecondsFormat::Micros, true));
            format!(
                ", m.changed_at >= {since}::timestamptz and m.changed_at <= now() and not exists (
                    select from managed_user_changes as c
                    where c.user_id = m.id and c.version = m.version
                        and (c.kind = 'repair' or c.folded_at is not null)
                )"
            )
        });
        let within = |column: &str| match self.span {
            Span::After(None) => "true".to_owned(),
            Span::After(Some(UserId(id))) => format!("{column} > {id}"),
            Span::Between(UserId(first), UserId(last)) => format!("{column} between {first} and {last}"),
        };
        let only = self.only.map(|users| {
            let mut ids = String::with_capacity(users.len() * 12);
            for user in users {
                // Writing to a String does not fail.
                write!(ids, "{user},").ok();
            }
            let ids = ids.trim_end_matches(',');
            format!("join unnest('{{{ids}}}'::bigint[]) as wanted (id) on wanted.id = m.id")
        });
        let limit = self.limit.map(|limit| format!("limit {limit}"));
        // Each table is bounded by itself, so that none is read from its beginning.
        let (fingerprint, unsettled) = match self.unsettled {
            Unsettled::These(_) => ("f.fingerprint", String::new()),
            Unsettled::Many => (
                "case when x.user_id is null and r.user_id is null then f.fingerprint end",
                format!(
                    "left join missing_users as x
                        on x.client_id = {client} and x.user_id = m.id and {within_x}
                    left join rejects as r
                        on r.client_id = {client} and r.user_id = m.id and {within_r}",
                    within_x = within("x.user_id"),
                    within_r = within("r.user_id"),
                ),
            ),
        };
        format!(
            "copy (
                select m.id, m.email, {fingerprint} {changed_since}
                from managed_users as m
                {only}
                left join record_fingerprints as f
                    on f.user_id = m.id and f.client_id = {client} and f.version = m.version and {within_f}
                {unsettled}
                where m.client_id = {client} and m.removed_at is null and {within_m}
                order by m.id
                {limit}
            ) to stdout (format binary)",
            changed_since = changed_since.unwrap_or_default(),
            only = only.unwrap_or_default(),
            within_f = within("f.user_id"),
            within_m = within("m.id"),
            limit = limit.unwrap_or_default(),
        )
    }
}

/// Both are in the order of ids.
fn only_among(mut targets: Vec<KnownTarget>, watched: &[UserId]) -> Vec<KnownTarget> {
    let mut watched = watched.iter().peekable();
    targets.retain(|target| {
        while watched.next_if(|user| **user < target.id).is_some() {}
        watched.peek() == Some(&&target.id)
    });
    targets
}
