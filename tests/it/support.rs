//! What the tests stand on: databases of their own, and peers on real sockets.

pub(crate) mod browser;
pub(crate) mod database;
pub(crate) mod gate;
pub(crate) mod http;
pub(crate) mod oracle;
pub(crate) mod pgbouncer;
pub(crate) mod process;
pub(crate) mod program;
pub(crate) mod receiver;
pub(crate) mod scripted;
pub(crate) mod story;
pub(crate) mod terminal;
pub(crate) mod told;
pub(crate) mod world;

pub(crate) use database::TestDb;

/// A variable of the environment; an empty one counts as unset.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place where tests read the environment"
)]
pub(crate) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
