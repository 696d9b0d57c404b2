//! The integration tests, as one binary.

mod embedded;
mod simulator;
mod support;
