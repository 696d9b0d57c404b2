//! Ledger, mirror and `managed_users_as_of` merged by user.

use chrono::{DateTime, Utc};
use sqlx::{Row as _, postgres::PgRow, types::Json as Jsonb};

use super::cursor::{Cursor, Fetched, Guarded};
use crate::{
    model::{Json, JsonObject, UserId},
    store::{Error, tx::Tx},
    verify::{AsOf, AsOfFault, Comparison, Counts, Entry, Finding, Folded, Shape, Verdict},
};

/// Which users are compared.
#[derive(Clone, Debug)]
pub(in crate::store) enum Users<'a> {
    After(Option<UserId>),
    These(&'a [i64]),
}

/// One step of the comparison.
#[derive(Debug)]
pub(in crate::store) enum Step {
    /// A version was folded in.
    Version(Vec<Finding>),
    /// A user's versions were all folded in, and are compared with what the database shows.
    User {
        id: UserId,
        verdict: Verdict,
        findings: Vec<Finding>,
    },
}

/// The comparison of some users, in one transaction.
#[derive(Debug)]
pub(in crate::store) struct Scan {
    comparison: Comparison,
    instants: Vec<DateTime<Utc>>,
    ledger: Cursor<Entry>,
    mirror: Cursor<Shown>,
    as_of: Vec<Answer>,
    history: Option<Guarded<ShownVersion>>,
    /// The user whose versions are being folded.
    current: Option<UserId>,
}

/// A row of the mirror, or of `managed_users_as_of`.
#[derive(Debug)]
struct Shown {
    id: UserId,
    row: JsonObject,
}

/// A row of `managed_users_history`.
#[derive(Debug)]
struct ShownVersion {
    key: (UserId, i32),
    row: JsonObject,
}

/// What `managed_users_as_of` gives for one instant.
#[derive(Debug)]
struct Answer {
    instant: DateTime<Utc>,
    rows: Guarded<Shown>,
}

impl Fetched for Entry {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            run_id: row.try_get("run_id")?,
            user_id: UserId(row.try_get("user_id")?),
            version: row.try_get("version")?,
            kind: row.try_get("kind")?,
            client_id: row.try_get("client_id")?,
            observed_at: row.try_get("observed_at")?,
            changed: row.try_get::<Jsonb<Json>, _>("changed")?.0,
            after: row.try_get::<Jsonb<Json>, _>("after")?.0,
            lifted: row.try_get::<Jsonb<JsonObject>, _>("lifted")?.0,
            folded: if row.try_get("is_folded")? {
                Some(Folded {
                    at: row.try_get("folded_at")?,
                    first_seen_at: row.try_get("first_seen_at")?,
                    removed_at: row.try_get("removed_at")?,
                })
            } else {
                None
            },
        })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.changed.weight() + self.after.weight() + self.lifted.weight()
    }
}

impl Fetched for Shown {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            id: UserId(row.try_get("id")?),
            row: row.try_get::<Jsonb<JsonObject>, _>("found")?.0,
        })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.row.weight()
    }
}

impl Fetched for ShownVersion {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            key: (UserId(row.try_get("user_id")?), row.try_get("version")?),
            row: row.try_get::<Jsonb<JsonObject>, _>("found")?.0,
        })
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.row.weight()
    }
}

/// The query for rows of the ledger, which is `c` in `from`, in the order of users and versions.
pub(in crate::store) fn entries(shape: &Shape, from: &str, condition: &str) -> String {
    // By the table alone: what is compared does not rest on the function that lifts fields for everybody else.
    let lifted = if shape.promoted.is_empty() {
        "'{}'::jsonb"
    } else {
        "coalesce((
            select jsonb_object_agg(
                p.column_name,
                to_jsonb(jsonb_populate_record(
                    null::managed_users,
                    jsonb_build_object(p.column_name, c.after -> 'extra' -> p.field)
                )) -> p.column_name
            )
            from promoted_fields as p where c.after -> 'extra' ? p.field
        ), '{}')"
    };
    let time = |column: &str| {
        format!(
            "case when c.{column} >= '0001-01-01' and c.{column} < '10000-01-01' then c.{column} end as {column}"
        )
    };
    format!(
        "select c.run_id, c.user_id, c.version, c.kind, c.client_id, c.changed, c.after, {lifted} as lifted,
            c.folded_at is not null as is_folded, {}, {}, {}, {}
         from {from} where {condition} order by c.user_id, c.version",
        time("observed_at"),
        time("folded_at"),
        time("first_seen_at"),
        time("removed_at"),
    )
}

impl Scan {
    /// `managed_users_history` is compared as well if there are instants.
    pub(in crate::store) async fn open(
        tx: &mut Tx,
        shape: Shape,
        instants: Vec<DateTime<Utc>>,
        users: Users<'_>,
    ) -> Result<Self, Error> {
        let ledger = entries(&shape, "managed_user_changes as c", &users.condition("c.user_id"));
        let mirror = format!(
            "select u.id, to_jsonb(u) as found from managed_users as u where {} order by u.id",
            users.condition("u.id"),
        );
        let mut as_of = Vec::with_capacity(instants.len());
        for (position, instant) in instants.iter().enumerate() {
            let query = format!(
                "select u.id, to_jsonb(u) as found from managed_users_as_of('{}') as u where {} order by u.id",
                instant.to_rfc3339(),
                users.condition("u.id"),
            );
            as_of.push(Answer {
                instant: *instant,
                rows: Guarded::declare(tx, format!("calmirror_as_of_{position}"), &query).await?,
            });
        }
        let history = format!(
            "select h.user_id, h.version, to_jsonb(h) as found from managed_users_history as h where {}
             order by h.user_id, h.version",
            users.condition("h.user_id"),
        );
        let history = if instants.is_empty() {
            None
        } else {
            Some(Guarded::declare(tx, "calmirror_history".to_owned(), &history).await?)
        };
        Ok(Self {
            comparison: Comparison::new(shape, instants.clone()),
            instants,
            history,
            ledger: Cursor::declare(tx, "calmirror_ledger".to_owned(), &ledger).await?,
            mirror: Cursor::declare(tx, "calmirror_mirror".to_owned(), &mirror).await?,
            as_of,
            current: None,
        })
    }

    pub(super) fn instants(&self) -> &[DateTime<Utc>] {
        &self.instants
    }

    pub(super) fn counts(&self) -> Counts {
        self.comparison.counts()
    }

    /// The next step; none at the end.
    pub(in crate::store) async fn step(&mut self, tx: &mut Tx) -> Result<Option<Step>, Error> {
        for answer in &mut self.as_of {
            if let Some(fails) = answer.fill(tx).await? {
                return Ok(Some(Step::Version(vec![fails])));
            }
        }
        let key = self
            .ledger
            .head(tx)
            .await?
            .map(|entry| (entry.user_id, entry.version));
        if let Some(finding) = self.strange_history(tx, key).await? {
            return Ok(Some(Step::Version(vec![finding])));
        }
        let in_ledger = key.map(|(user_id, _)| user_id);
        let in_mirror = self.mirror.head(tx).await?.map(|shown| shown.id);
        let shown = self.as_of.iter().filter_map(Answer::head);
        let heads = [self.current, in_ledger, in_mirror];
        let Some(id) = heads.into_iter().flatten().chain(shown).min() else {
            return Ok(None);
        };
        if in_ledger == Some(id)
            && let Some(entry) = self.ledger.take()
        {
            self.current = Some(id);
            let mut findings = self.comparison.version(&entry);
            if let Some(history) = &mut self.history {
                let is_shown = history.first().map(|shown| shown.key) == key;
                if let Some(shown) = history.take_if(is_shown) {
                    let row = shown.map(|shown| shown.row);
                    findings.extend(self.comparison.history(&entry, row.as_ref()));
                }
            }
            return Ok(Some(Step::Version(findings)));
        }
        self.current = None;
        let found = if in_mirror == Some(id) {
            self.mirror.take()
        } else {
            None
        };
        let found = found.map(|shown| shown.row);
        let as_of: Vec<AsOf> = self
            .as_of
            .iter_mut()
            .filter_map(|answer| answer.take(id))
            .collect();
        let (verdict, findings) = self.comparison.user(id, found.as_ref(), &as_of);
        Ok(Some(Step::User {
            id,
            verdict,
            findings,
        }))
    }
}

impl Scan {
    /// What is wrong with the history before the ledger's next row: it fails, or has a row of its own.
    async fn strange_history(
        &mut self,
        tx: &mut Tx,
        next: Option<(UserId, i32)>,
    ) -> Result<Option<Finding>, Error> {
        let Some(history) = &mut self.history else {
            return Ok(None);
        };
        if let Some(fault) = history.fill(tx).await? {
            return Ok(Some(Finding::History {
                user_id: None,
                version: None,
                fault,
            }));
        }
        let Some(key) = history.first().map(|shown| shown.key) else {
            return Ok(None);
        };
        if next.is_some_and(|next| key >= next) {
            return Ok(None);
        }
        history.take_if(true);
        Ok(Some(Finding::History {
            user_id: Some(key.0),
            version: Some(key.1),
            fault: AsOfFault::Surplus,
        }))
    }
}

impl Users<'_> {
    fn condition(&self, column: &str) -> String {
        match self {
            Self::After(None) => "true".to_owned(),
            Self::After(Some(id)) => format!("{column} > {id}"),
            Self::These(ids) => {
                let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
                format!("{column} = any ('{{{}}}'::bigint[])", ids.join(","))
            }
        }
    }
}

impl Answer {
    async fn fill(&mut self, tx: &mut Tx) -> Result<Option<Finding>, Error> {
        let failed = self.rows.fill(tx).await?;
        Ok(failed.map(|fault| Finding::AsOf {
            instant: self.instant,
            user_id: None,
            fault,
        }))
    }

    fn head(&self) -> Option<UserId> {
        self.rows.first().map(|shown| shown.id)
    }

    /// What is shown of a user. None if the function has failed.
    fn take(&mut self, id: UserId) -> Option<AsOf> {
        let is_shown = self.head() == Some(id);
        let shown = self.rows.take_if(is_shown)?;
        Some(AsOf {
            instant: self.instant,
            row: shown.map(|shown| shown.row),
        })
    }
}
