//! The database's unhappy days, through the whole program: the daemon lives, the next pass converges, and the ledger has
//! neither gap nor double.

mod codes;
mod commits;
mod failover;
mod killed;
mod locks;
mod room;
mod server;
mod stage;
mod stopped;
mod tables;
mod truth;
