//! The integration tests, as one binary: real Postgres, real HTTP.

mod calcom;
mod cli;
mod crashes;
mod databases;
mod docs;
mod embedded;
mod fields;
mod forget;
mod grants;
mod health;
mod histories;
mod notify;
mod packaging;
mod page;
mod queries;
mod rejects;
mod retention;
mod schema;
mod simulator;
mod support;
mod sync;
mod upstreams;
mod verify;
