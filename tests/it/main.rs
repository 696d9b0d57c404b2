//! The integration tests, as one binary.

mod embedded;
mod simulator;
//! The one integration test binary.

mod calcom;
mod support;
