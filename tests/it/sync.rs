//! Passes: the simulator over real HTTP on one side, Postgres on the other.

mod approval;
mod budget;
mod changes;
mod database;
mod durability;
mod held;
mod plan;
mod population;
mod progress;
mod reading;
mod removals;
mod turns;
mod unhappy;
