//! The integration tests, as one binary.

mod simulator;
mod embedded;
mod support;
