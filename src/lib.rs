//! calmirror keeps a Postgres table, `managed_users`, true to what Cal.com's API says of a configured set of managed
//! users.
//!
//! A pass over one client is a pipeline of functions, each over one named type:
//!
//! ```text
//! tick ──> plan ──> fetch ──> decode ──> compare ──> guard ──> apply ──> record ──> report
//!          targets  requests  answers    change set   hold?     one tx     run row    log
//! ```

pub mod calcom;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod daemon;
pub mod embedded;
pub mod guard;
pub mod model;
pub mod retry;
pub mod schedule;
pub mod shutdown;
pub mod simulator;
pub mod store;
pub mod sync;
pub mod telemetry;
