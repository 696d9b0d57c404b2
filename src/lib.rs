//! calmirror keeps a Postgres table, `managed_users`, true to what Cal.com's API says of a configured set of managed
//! users.
//!
//! A pass over one client is a pipeline of functions, each over one named type:
//!
//! ```text
//! tick ──> plan ──> fetch ──> decode ──> compare ──> guard ──> apply ──> record ──> report
//!          targets  requests  answers    change set   hold?     one tx     run row    log
//! ```
//!
//! - [`model`], [`clock`], [`retry`]: the words, where time comes from, when a try is worth another; they know nobody.
//! - [`config`]: what the operator says, from a file and the environment.
//! - [`compare`], [`guard`]: what differs, and whether removals may be applied. [`verify`]: whether ledger and mirror agree.
//!   Pure.
//! - [`calcom`]: one request and what its answer proves. [`store`]: all SQL. [`sync`]: one pass over both.
//! - [`measured`]: what is counted and timed, for Prometheus. [`health`]: how far each client's mirror can be trusted, and why
//!   no further.
//! - [`schedule`], [`daemon`]: ticks, and the passes that they become. [`retention`]: what is deleted beside them.
//! - [`live`], [`server`]: what the daemon does now, and says over HTTP. [`notify`]: whom a webhook tells of trouble.
//! - [`embedded`], [`simulator`]: a local Postgres, and a stand-in for Cal.com.
//! - [`telemetry`], [`shutdown`], [`systemd`], [`cli`]: log lines, signals, the supervisor, commands. [`crash_point`]: where tests kill the program.
//!
//! Imports run downwards only; the commands know everything.

#![forbid(unsafe_code)]

pub mod calcom;
pub mod cli;
pub mod clock;
pub mod compare;
pub mod config;
pub mod crash_point;
pub mod daemon;
pub mod embedded;
pub mod guard;
pub mod health;
pub mod live;
pub mod measured;
pub mod model;
pub mod notify;
pub mod retention;
pub mod retry;
pub mod schedule;
pub mod server;
pub mod shutdown;
pub mod simulator;
pub mod store;
pub mod sync;
pub mod systemd;
pub mod telemetry;
pub mod verify;
