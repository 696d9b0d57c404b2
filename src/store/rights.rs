//! What the user of `database.url` may do, beyond what it needs and short of it.

use std::fmt;

use super::{Error, Store, grants::tables, tx::Tx};

/// What the connected user may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rights {
    /// As Postgres calls it.
    pub user: String,
    /// What no pass needs.
    pub excess: Vec<Excess>,
    /// Whether migrations can be made: the schema takes tables, and those that are there are the user's.
    pub may_migrate: bool,
}

/// A right that no pass needs, and that would make more of a fault or a leak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Excess {
    /// All of the below.
    Superuser,
    CreateRole,
    CreateDatabase,
    BypassRowSecurity,
    Replication,
    /// Of the mirror's tables, with all that an owner may do to them.
    Owner,
    CreateTables,
    Truncate,
    ChangeLedger,
}

impl fmt::Display for Excess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Superuser => "is a superuser",
            Self::CreateRole => "may create roles (CREATEROLE)",
            Self::CreateDatabase => "may create databases (CREATEDB)",
            Self::BypassRowSecurity => "passes over row-level security (BYPASSRLS)",
            Self::Replication => "may replicate the whole server (REPLICATION)",
            Self::Owner => "owns the mirror's tables",
            Self::CreateTables => "may create tables in the mirror's schema",
            Self::Truncate => "may truncate the mirror's tables",
            Self::ChangeLedger => "may update or delete what is in the ledger",
        })
    }
}

/// What erasing a person takes beyond what passes do.
const FORGET: [(&str, &str); 6] = [
    ("managed_users", "DELETE"),
    ("managed_user_changes", "DELETE"),
    ("record_fingerprints", "DELETE"),
    ("forgotten_users", "INSERT"),
    ("forgotten_users", "UPDATE"),
    ("sync_state", "UPDATE"),
];

impl Store {
    /// What the user of this store may do. Only looks.
    ///
    /// # Errors
    ///
    /// What Postgres says.
    pub async fn rights(&self) -> Result<Rights, Error> {
        let tables: Vec<String> = tables().map(str::to_owned).collect();
        let mut tx = self.begin().await?;
        let found = sqlx::query!(
            r#"
            select
                r.rolname::text as "user!",
                r.rolsuper as "superuser!",
                r.rolcreaterole as "create_role!",
                r.rolcreatedb as "create_database!",
                r.rolbypassrls as "bypass!",
                r.rolreplication as "replication!",
                coalesce(
                    has_schema_privilege(to_regnamespace($1)::oid, 'CREATE'),
                    has_database_privilege(current_database(), 'CREATE')
                ) as "creates!",
                t.tables as "tables!",
                t.owned as "owned!",
                t.truncates as "truncates!",
                t.changes_ledger as "changes_ledger!"
            from pg_roles as r
            cross join (
                select
                    count(*) as tables,
                    count(*) filter (where pg_has_role(c.relowner, 'USAGE')) as owned,
                    count(*) filter (where has_table_privilege(c.oid, 'TRUNCATE')) as truncates,
                    count(*) filter (
                        where c.relname = 'managed_user_changes' and (
                            has_any_column_privilege(c.oid, 'UPDATE') or has_table_privilege(c.oid, 'DELETE')
                        )
                    ) as changes_ledger
                from pg_class as c
                where c.relnamespace = to_regnamespace($1) and c.relkind in ('r', 'p')
                    and c.relname = any($2)
            ) as t
            where r.rolname = current_user
            "#,
            self.schema(),
            &tables,
        )
        .fetch_one(&mut tx)
        .await?;
        tx.rollback().await?;
        let is_owner = found.owned > 0;
        let mut excess = Vec::new();
        if found.superuser {
            excess.push(Excess::Superuser);
        } else {
            let all = [
                (found.create_role, Excess::CreateRole),
                (found.create_database, Excess::CreateDatabase),
                (found.bypass, Excess::BypassRowSecurity),
                (found.replication, Excess::Replication),
                (is_owner, Excess::Owner),
                // Somebody has to make the tables first.
                (
                    found.tables > 0 && found.creates && !is_owner,
                    Excess::CreateTables,
                ),
                (found.truncates > 0 && !is_owner, Excess::Truncate),
                (found.changes_ledger > 0 && !is_owner, Excess::ChangeLedger),
            ];
            excess.extend(
                all.into_iter()
                    .filter(|(is_held, _)| *is_held)
                    .map(|(_, excess)| excess),
            );
        }
        Ok(Rights {
            user: found.user,
            excess,
            may_migrate: found.creates && found.owned == found.tables,
        })
    }
}

/// That the user may erase a person.
///
/// # Errors
///
/// [`Error::Denied`] with what is lacking.
pub(super) async fn check_forget(tx: &mut Tx) -> Result<(), Error> {
    let (tables, rights): (Vec<String>, Vec<String>) = FORGET
        .iter()
        .map(|(table, right)| ((*table).to_owned(), (*right).to_owned()))
        .unzip();
    let lacking = sqlx::query!(
        r#"
        select
            current_user::text as "user!",
            array(
                select needed.right || ' on ' || needed.name
                from unnest($1::text[], $2::text[]) as needed (name, "right")
                where not has_table_privilege(needed.name::regclass, needed.right)
            ) as "lacks!"
        "#,
        &tables,
        &rights,
    )
    .fetch_one(tx)
    .await?;
    if lacking.lacks.is_empty() {
        Ok(())
    } else {
        Err(Error::Denied {
            user: lacking.user,
            lacks: lacking.lacks,
        })
    }
}
