//! The integration tests, as one binary: real Postgres, real HTTP.

mod calcom;
mod embedded;
mod simulator;
mod support;
mod sync;
