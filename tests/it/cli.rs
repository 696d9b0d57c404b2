//! The program as people and scripts meet it: a process, its output, its log, its exit code.

mod approve;
mod check;
mod daemon;
mod demo;
mod errors;
mod exit;
mod fields;
mod forget;
mod health;
mod init;
mod looking;
mod manual;
mod notify;
mod output;
mod plan;
mod processes;
mod progress;
mod reading;
mod reload;
mod requests;
mod rights;
mod roles;
mod server;
mod status;
mod streams;
mod supervised;
mod sync;
mod terminal;
mod users;
mod watch;

use std::fmt::Write as _;

use calmirror::simulator::{ClientInfo, RateLimit, Simulator, SimulatorConfig};
use sqlx::PgPool;

use crate::support::{
    TestDb,
    gate::Gate,
    program::{Ended, Workplace},
};

/// A simulator, a database, and a configuration that names both.
struct Setup {
    simulator: Simulator,
    clients: Vec<ClientInfo>,
    db: TestDb,
    workplace: Workplace,
    /// How users are asked for.
    fetch: &'static str,
    /// As the configuration has them; written anew by [`Setup::configure`].
    base_url: String,
    database_url: String,
}

impl Setup {
    async fn new(clients: usize, users: usize) -> Self {
        let simulator = Simulator::start(SimulatorConfig {
            clients,
            users_per_client: users,
            rate_limit: RateLimit::OFF,
            ..SimulatorConfig::default()
        })
        .await
        .expect("the simulator starts");
        Self::with(simulator).await
    }

    /// On a database of its own.
    async fn with(simulator: Simulator) -> Self {
        let db = TestDb::new().await;
        let mut setup = Self {
            base_url: simulator.base_url(),
            database_url: db.url(),
            clients: simulator.clients(),
            simulator,
            db,
            workplace: Workplace::new(),
            fetch: "get",
        };
        for client in &setup.clients {
            setup.workplace.set(&secret_variable(client), &client.secret);
        }
        setup.configure("");
        setup
    }

    /// Puts a gate before the database, shut, for whoever goes by a configuration that is written from now on.
    fn gate(&mut self) -> Gate {
        let (gate, url) = Gate::before_database(&self.db);
        self.database_url = url;
        gate
    }

    /// Writes the configuration, with these sections in it.
    fn configure(&self, sections: &str) {
        let mut text = format!(
            "[calcom]\nbase_url = \"{}\"\nfetch = \"{}\"\nrequests_per_minute = 0\n[database]\nurl = \"{}\"\n{sections}\n",
            self.base_url, self.fetch, self.database_url,
        );
        for client in &self.clients {
            write!(
                text,
                "[[clients]]\nname = \"{}\"\nid = \"{}\"\nsecret = {{ env = \"{}\" }}\nusers = {:?}\n",
                client.name,
                client.id,
                secret_variable(client),
                client.users,
            )
            .expect("writing to a string does not fail");
        }
        self.workplace.write("config.toml", &text);
    }

    async fn run(&self, arguments: &[&str]) -> Ended {
        self.workplace.run(arguments).await
    }

    async fn pool(&self) -> PgPool {
        self.db.pool().await
    }

    /// One value of one query.
    async fn value<T>(&self, query: &'static str) -> T
    where
        T: Send + Unpin + for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + 'static,
    {
        sqlx::query_scalar(query)
            .fetch_one(&self.pool().await)
            .await
            .expect("the query works")
    }
}

fn secret_variable(client: &ClientInfo) -> String {
    format!("SECRET_{}", client.name.to_uppercase())
}

/// The lines of a table for people, cut into cells.
fn cells(table: &str) -> Vec<Vec<&str>> {
    table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect()
}

#[test]
fn what_is_printed_is_as_documented() {
    trycmd::TestCases::new()
        .register_bin("calmirror", std::path::Path::new(env!("CARGO_BIN_EXE_calmirror")))
        .env("COLUMNS", "100")
        .env("DATABASE_URL", "")
        .case("tests/cmd/*.trycmd");
}
