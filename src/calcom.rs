//! Cal.com's API for managed users: one request, what its answer proves, and how often it may be asked.
//!
//! Wire shapes are private to this module; what leaves it are the types of [`crate::model`] and [`Error`].

mod body;
mod budget;
mod client;
mod error;
mod wire;

use std::future::Future;

use crate::model::{Observation, UserId};

pub use client::{Api, ApiClient};
pub use error::{Disposition, Error, Flaw, Obstacle, Refusal, Said};
pub use wire::{Answer, decode_answer};

/// What can be asked of one client's users. Implemented by the HTTP client, and by scripts in tests.
pub trait Source: Send + Sync {
    /// Asks for one user, with as many tries as are due.
    ///
    /// # Errors
    /// The last try's error, when no answer proved anything of the user.
    fn get_user(&self, user: UserId) -> impl Future<Output = Result<Observation, Error>> + Send;

    /// A pass begins: what is told once a pass may be told again.
    fn begin_pass(&self) {}

    /// HTTP tries made since the source was built.
    fn requests(&self) -> u64;
}
