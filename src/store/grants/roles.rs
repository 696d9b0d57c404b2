//! The names of the three roles.

/// Postgres cuts longer names off (`NAMEDATALEN - 1`), and two of them may then be one.
const MAX_NAME_BYTES: usize = 63;

/// The names of the roles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Roles {
    /// Owns the tables: `migrate`, `forget` and `verify --repair`.
    pub migrator: String,
    /// Makes passes.
    pub daemon: String,
    /// Reads users, their history and how fresh they are.
    pub reader: String,
}

/// Names that no roles can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRole {
    #[error("{0:?} cannot be the name of a role: {1}")]
    Name(String, &'static str),
    #[error("{0:?} is the name of two roles, which must be different ones")]
    Twice(String),
}

pub(super) fn unfit(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("it is empty")
    } else if name.len() > MAX_NAME_BYTES {
        Some("it is longer than the 63 bytes that Postgres allows")
    } else if name.chars().any(char::is_control) {
        Some("it has a control character in it")
    } else if name.starts_with("pg_") || ["public", "none"].contains(&name) {
        Some("it is reserved by Postgres")
    } else {
        None
    }
}
