//! Roles that may do no more than they have to: the SQL that is printed, and the program under it.

pub(crate) mod cast;
mod denied;
mod migrations;
mod statements;
