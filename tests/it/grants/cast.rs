//! Three roles of a database, made by what the program prints.

use calmirror::store::{Grants, Roles, Settings, Store};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection,
    postgres::{PgConnectOptions, PgConnection},
};

use crate::support::TestDb;

/// Only servers that ask for one look at it.
const PASSWORD: &str = "open sesame";

pub(crate) struct Cast {
    pub(crate) roles: Roles,
    options: PgConnectOptions,
}

impl Cast {
    /// The roles, with the rights that are printed for a schema.
    pub(crate) async fn of(db: &TestDb, schema: &str, ledger_retention: bool) -> Self {
        let cast = Self::without_rights(db);
        let mut admin = connect(&cast.options).await;
        execute(&mut admin, &cast.script(schema, ledger_retention)).await;
        let Roles {
            migrator,
            daemon,
            reader,
        } = &cast.roles;
        cast.with_passwords(&mut admin, &[migrator, daemon, reader]).await;
        admin.close().await.expect("the connection closes");
        cast
    }

    pub(crate) fn without_rights(db: &TestDb) -> Self {
        let [migrator, daemon, reader] = db.roles();
        Self {
            roles: Roles {
                migrator,
                daemon,
                reader,
            },
            options: db.connect_options(),
        }
    }

    pub(crate) fn script(&self, schema: &str, ledger_retention: bool) -> String {
        Grants::new(schema, self.roles.clone(), ledger_retention)
            .expect("the names are sound")
            .script()
    }

    pub(crate) async fn with_passwords(&self, admin: &mut PgConnection, roles: &[&String]) {
        for role in roles {
            execute(admin, &format!("alter role {role} password '{PASSWORD}'")).await;
        }
    }

    /// Who may do what in a schema.
    pub(crate) async fn acl(&self, admin: &mut PgConnection, schema: &str) -> Vec<String> {
        let query = format!(
            "select unnest(nspacl)::text from pg_namespace where nspname = '{schema}'
             union all
             select relname || ' ' || relowner || ' ' || unnest(relacl) from pg_class
             where relnamespace = '{schema}'::regnamespace
             union all
             select c.relname || ' ' || a.attname || ' ' || unnest(a.attacl) from pg_attribute as a
             join pg_class as c on c.oid = a.attrelid where c.relnamespace = '{schema}'::regnamespace
             union all
             select proname || ' ' || proowner || ' ' || unnest(proacl) from pg_proc
             where pronamespace = '{schema}'::regnamespace
             union all
             select unnest(defaclacl)::text from pg_default_acl
             order by 1"
        );
        let acl = texts(admin, &query).await;
        assert!(acl.len() > 100, "{acl:?}");
        acl
    }

    pub(crate) fn options(&self, role: &str) -> PgConnectOptions {
        self.options.clone().username(role).password(PASSWORD)
    }

    /// For `database.url`.
    pub(crate) fn url(&self, role: &str) -> String {
        self.options(role).to_url_lossy().to_string()
    }

    pub(crate) fn store(&self, role: &str, schema: &str) -> Store {
        let settings = Settings {
            schema: schema.to_owned(),
            max_connections: 1,
            pgbouncer: false,
        };
        Store::open(self.options(role), &settings)
    }

    pub(crate) async fn connect(&self, role: &str) -> PgConnection {
        connect(&self.options(role)).await
    }

    pub(crate) async fn admin(&self) -> PgConnection {
        connect(&self.options).await
    }
}

async fn connect(options: &PgConnectOptions) -> PgConnection {
    PgConnection::connect_with(options)
        .await
        .expect("the test's database takes connections")
}

pub(crate) async fn execute(connection: &mut PgConnection, sql: &str) {
    try_execute(connection, sql)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// The SQLSTATE and the message of what went wrong.
pub(crate) async fn try_execute(connection: &mut PgConnection, sql: &str) -> Result<(), String> {
    match sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))
        .execute(connection)
        .await
    {
        Ok(_) => Ok(()),
        Err(sqlx::Error::Database(error)) => Err(format!(
            "{} {}",
            error.code().unwrap_or_default(),
            error.message()
        )),
        Err(error) => panic!("{error}: {sql}"),
    }
}

pub(crate) async fn texts(connection: &mut PgConnection, sql: &str) -> Vec<String> {
    sqlx::query_scalar(AssertSqlSafe(sql.to_owned()))
        .fetch_all(connection)
        .await
        .unwrap_or_else(|error| panic!("{error}: {sql}"))
}
