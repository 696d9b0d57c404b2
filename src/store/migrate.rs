//! Bringing the database's schema up to this version.

use sqlx::{
    AssertSqlSafe,
    migrate::{MigrateError, Migrator},
};

use super::{Error, Store, quote_identifier};
use crate::crash_point::crash_point;

/// In the mirror's own schema, under a name that another application's sqlx migrations do not take.
pub(super) const MIGRATIONS_TABLE: &str = "calmirror_migrations";

/// Any constant will do: it keeps two migrations of one database from overlapping.
const MIGRATION_LOCK: i64 = 0x0063_616c_6d69_7272;

const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Our names only: a newer PgBouncer keeps statements of its own on the connection.
const DEALLOCATE: &str = r"
do $$
declare
    statement record;
begin
    for statement in select name from pg_prepared_statements where name like 'sqlx\_s\_%' loop
        execute format('deallocate %I', statement.name);
    end loop;
end $$";

impl Store {
    /// Applies the migrations that the database lacks, all in one transaction, and says how many these were.
    ///
    /// # Errors
    ///
    /// [`Error::Newer`] when the database is ahead of this version, [`Error::MayNotMigrate`] when it lacks migrations and we
    /// the right to make them; otherwise what Postgres says.
    pub async fn migrate(&self) -> Result<usize, Error> {
        let pending = match self.pending_migrations().await {
            Ok(0) => return Ok(0),
            Ok(pending) => pending,
            Err(Error::NotMigrated { .. }) => Self::migrations(),
            Err(error) => return Err(error),
        };
        match self.apply_migrations().await {
            Ok(()) => Ok(pending),
            Err(error) => Err(match denial(&error) {
                Some(said) => Error::MayNotMigrate {
                    schema: self.schema.clone(),
                    pending,
                    said,
                },
                None => error.into(),
            }),
        }
    }

    async fn apply_migrations(&self) -> Result<(), MigrateError> {
        let mut tx = self.pool.begin_with(AssertSqlSafe(self.begin.clone())).await?;
        // A session's lock would outlive the transaction in PgBouncer, so sqlx's own is off.
        sqlx::query("select pg_advisory_xact_lock($1)")
            .bind(MIGRATION_LOCK)
            .persistent(false)
            .execute(&mut *tx)
            .await?;
        let schema = quote_identifier(&self.schema);
        let exists: bool = sqlx::query_scalar("select to_regnamespace($1) is not null")
            .bind(&schema)
            .persistent(false)
            .fetch_one(&mut *tx)
            .await?;
        if !exists {
            sqlx::raw_sql(AssertSqlSafe(format!("create schema {schema}")))
                .execute(&mut *tx)
                .await?;
        }
        crash_point!("migration::inside");
        migrator().run_direct(None, &mut *tx, false).await?;
        if self.pgbouncer {
            // sqlx's migrator names its statements; on a shared connection they would be in the next one's way.
            sqlx::raw_sql(DEALLOCATE).execute(&mut *tx).await?;
        }
        crash_point!("migration::before_commit");
        tx.commit().await?;
        crash_point!("migration::after_commit");
        Ok(())
    }

    /// How many migrations there are.
    pub fn migrations() -> usize {
        migrator().iter().count()
    }

    /// How many migrations the database lacks.
    ///
    /// # Errors
    ///
    /// [`Error::NotMigrated`] when it has none at all, [`Error::Newer`] when it has one that this version does not know.
    pub async fn pending_migrations(&self) -> Result<usize, Error> {
        let mut tx = self.begin().await?;
        let encoding: String = sqlx::query_scalar("select current_setting('server_encoding')")
            .fetch_one(&mut tx)
            .await?;
        if encoding != "UTF8" {
            return Err(Error::Refused(format!(
                "the database's encoding is {encoding}, which cannot hold every name; create one with encoding UTF8"
            )));
        }
        let table = format!("{}.{MIGRATIONS_TABLE}", quote_identifier(&self.schema));
        let exists: bool = sqlx::query_scalar("select to_regclass($1) is not null")
            .bind(&table)
            .fetch_one(&mut tx)
            .await?;
        if !exists {
            return Err(Error::NotMigrated {
                schema: self.schema.clone(),
            });
        }
        let applied: Vec<i64> = sqlx::query_scalar(AssertSqlSafe(format!("select version from {table}")))
            .fetch_all(&mut tx)
            .await?;
        tx.rollback().await?;
        let migrator = migrator();
        if let Some(unknown) = applied
            .iter()
            .copied()
            .find(|version| !migrator.version_exists(*version))
        {
            return Err(Error::Newer(unknown));
        }
        Ok(migrator
            .iter()
            .filter(|migration| !applied.contains(&migration.version))
            .count())
    }
}

/// What Postgres says, where it is a right that is missing.
fn denial(error: &MigrateError) -> Option<String> {
    let (MigrateError::Execute(error) | MigrateError::ExecuteMigration(error, _)) = error else {
        return None;
    };
    let error = error.as_database_error()?;
    (error.code().as_deref() == Some(INSUFFICIENT_PRIVILEGE)).then(|| error.message().to_owned())
}

fn migrator() -> Migrator {
    let mut migrator = sqlx::migrate!();
    migrator.dangerous_set_table_name(MIGRATIONS_TABLE);
    migrator.set_locking(false);
    migrator
}
