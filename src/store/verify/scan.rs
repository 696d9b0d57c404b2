//! Ledger, mirror and `managed_users_as_of` merged by user.

use chrono::{DateTime, Utc};
use sqlx::{Row as _, postgres::PgRow, types::Json as Jsonb};

use super::cursor::{Cursor, Fetched, execute};
use crate::{
    model::{Json, JsonObject, UserId},
    store::{Error, tx::Tx},
    verify::{AsOf, AsOfFault, Comparison, Counts, Entry, Finding, Shape, Verdict},
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
    /// The user whose versions are being folded.
    current: Option<UserId>,
}

/// A row of the mirror, or of `managed_users_as_of`.
#[derive(Debug)]
struct Shown {
    id: UserId,
    row: JsonObject,
}

/// What `managed_users_as_of` gives for one instant; without a cursor it has failed.
#[derive(Debug)]
struct Answer {
    instant: DateTime<Utc>,
    cursor: Option<Cursor<Shown>>,
}

impl Fetched for Entry {
    fn read(row: &PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            user_id: UserId(row.try_get("user_id")?),
            version: row.try_get("version")?,
            kind: row.try_get("kind")?,
            client_id: row.try_get("client_id")?,
            observed_at: row.try_get("observed_at")?,
            changed: row.try_get::<Jsonb<Json>, _>("changed")?.0,
            after: row.try_get::<Jsonb<Json>, _>("after")?.0,
            lifted: row.try_get::<Jsonb<JsonObject>, _>("lifted")?.0,
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

impl Scan {
    pub(in crate::store) async fn open(
        tx: &mut Tx,
        shape: Shape,
        instants: Vec<DateTime<Utc>>,
        users: Users<'_>,
    ) -> Result<Self, Error> {
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
        let ledger = format!(
            "select c.user_id, c.version, c.kind, c.client_id, c.changed, c.after, {lifted} as lifted,
                case when c.observed_at >= '0001-01-01' and c.observed_at < '10000-01-01' then c.observed_at end
                    as observed_at
             from managed_user_changes as c where {} order by c.user_id, c.version",
            users.condition("c.user_id"),
        );
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
                cursor: Some(Cursor::declare(tx, format!("calmirror_as_of_{position}"), &query).await?),
            });
        }
        Ok(Self {
            comparison: Comparison::new(shape, instants.clone()),
            instants,
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
        let in_ledger = self.ledger.head(tx).await?.map(|entry| entry.user_id);
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
            return Ok(Some(Step::Version(self.comparison.version(&entry))));
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
    /// Fetches rows if there are none. Gives a finding if the function fails, which is its fault and no end of the comparison.
    async fn fill(&mut self, tx: &mut Tx) -> Result<Option<Finding>, Error> {
        let Some(cursor) = self.cursor.as_mut().filter(|cursor| cursor.needs_rows()) else {
            return Ok(None);
        };
        execute(tx, "savepoint calmirror_as_of".to_owned()).await?;
        let fetched = cursor.fetch(tx).await;
        let end = match &fetched {
            Ok(()) => "release savepoint calmirror_as_of",
            Err(Error::Refused(_)) => "rollback to savepoint calmirror_as_of",
            Err(error) => return Err(error.clone()),
        };
        execute(tx, end.to_owned()).await?;
        Ok(fetched.err().map(|error| {
            self.cursor = None;
            Finding::AsOf {
                instant: self.instant,
                user_id: None,
                fault: AsOfFault::Fails {
                    error: error.to_string(),
                },
            }
        }))
    }

    fn head(&self) -> Option<UserId> {
        self.cursor.as_ref()?.first().map(|shown| shown.id)
    }

    /// What is shown of a user. None if the function has failed.
    fn take(&mut self, id: UserId) -> Option<AsOf> {
        let is_shown = self.head() == Some(id);
        let cursor = self.cursor.as_mut()?;
        let shown = if is_shown { cursor.take() } else { None };
        Some(AsOf {
            instant: self.instant,
            row: shown.map(|shown| shown.row),
        })
    }
}
