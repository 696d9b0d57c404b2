//! Cal.com's API for managed users: one request, what its answer proves, and how often it may be asked.
//!
//! Wire shapes are private to this module; what leaves it are the types of [`crate::model`] and [`Error`].

mod address;
mod body;
mod budget;
mod client;
mod error;
mod lessons;
mod refused;
mod wire;

use std::{collections::HashMap, future::Future, time::Duration};

use crate::model::{Allowance, Fingerprint, Observation, RateState, Seen, Target, UserId};

pub use address::{address_bytes, bare_address};
pub(crate) use budget::BURST_DIVISOR;
pub(crate) use client::install_crypto;
pub use client::{Api, ApiClient};
pub use error::{Disposition, Error, Flaw, Obstacle, Refusal, Said, Scope};
pub use refused::RefusedAddresses;
pub use wire::{Answer, decode_answer, decode_page, decode_roll, decode_seen};

/// What can be asked of one client's users. Implemented by the HTTP client, and by scripts in tests. Clones are the same source: each
/// request may have a task of its own.
pub trait Source: Clone + Send + Sync + 'static {
    /// Asks for one user by its id, with as many tries as are due.
    ///
    /// # Errors
    /// The last try's error, when no answer proved anything of the user.
    fn get(&self, target: &Target) -> impl Future<Output = Result<Seen, Error>> + Send;

    /// As [`Source::get`], of a user of whom only the id is known.
    ///
    /// # Errors
    /// As [`Source::get`].
    fn get_user(&self, user: UserId) -> impl Future<Output = Result<Observation, Error>> + Send {
        async move {
            match self.get(&Target::unknown(user)).await? {
                Seen::Observed { observation, .. } => Ok(observation),
                // Without a fingerprint there is nothing to be the same as.
                Seen::Unchanged(_) => Err(Error::Garbled("it is that of another user")),
            }
        }
    }

    /// Asks for several users in one request, by their addresses, with as many tries as are due. Targets without an address, and
    /// more than [`Reach`] allows, are the caller's fault: see [`address_bytes`]. Nothing is sent if no target can be asked for so.
    ///
    /// The answer speaks of those users only that it contains. It is the caller who asks for the others by their ids.
    ///
    /// # Errors
    /// The last try's error. See [`Error::scope`] for what to do about it.
    fn by_addresses(&self, targets: &[Target]) -> impl Future<Output = Result<Roll, Error>> + Send;

    /// Asks for a page of the client's users, with as many tries as are due. `known` are the fingerprints of users that may be on it.
    /// Of an answer with more than 1000 records, the rest is counted only.
    ///
    /// # Errors
    /// The last try's error.
    fn page(
        &self,
        offset: usize,
        limit: usize,
        known: &HashMap<Fingerprint, UserId>,
    ) -> impl Future<Output = Result<Roll, Error>> + Send;

    /// Asks for a page of the organisation's users. Gives those whose address has this client's suffix: being on the page proves nothing of a user.
    ///
    /// # Errors
    /// The last try's error.
    fn organization_page(
        &self,
        organization: i64,
        skip: usize,
    ) -> impl Future<Output = Result<OrganizationPage, Error>> + Send;

    /// How much one request may ask for, as far as the server has shown it.
    fn reach(&self) -> Reach;

    /// What the server shows of itself by an answer, or the want of one.
    fn learn(&self, lesson: Lesson);

    /// The server takes this user's address for none. It is remembered of a bounded number of users, and as long as a lesson is.
    fn learn_refused(&self, _user: &Target) {}

    /// The users whose addresses the server was seen to take for none, as of now.
    fn refused_addresses(&self) -> RefusedAddresses {
        RefusedAddresses::default()
    }

    /// A pass begins: what is told once a pass may be told again.
    fn begin_pass(&self) {}

    /// HTTP tries made since the source was built.
    fn requests(&self) -> u64;

    /// What is left of the client's rate limit, for another process to go on from.
    fn rate_state(&self) -> RateState {
        RateState::default()
    }

    /// What the server lets the client ask, as far as it has said so since this process began.
    fn allowance(&self) -> Option<Allowance> {
        None
    }

    /// Takes over what another process has left. It only ever makes worse what is known here, and the next answer knows better.
    fn resume_rate(&self, _state: RateState) {}

    /// Waits until there is something about the rate limit that another process would have to know at once: a block, or the first
    /// window of a pass.
    fn rate_news(&self) -> impl Future<Output = ()> + Send {
        std::future::pending()
    }

    /// The most requests that the source's own rate lets go in so much time.
    fn most_within(&self, _time: Duration) -> u64 {
        u64::MAX
    }
}

/// What an answer to a request for several users contains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// One for each record, each user once. Of a request by addresses: of the users only that were asked for.
    pub seen: Vec<Seen>,
    /// Records in the answer, also those of which nothing is seen, since they have no readable id, or one that was not asked for.
    pub records: usize,
    /// Records of a request by addresses that have neither an id nor an address that was asked for: the server does not look at
    /// `emails=`.
    pub unasked: usize,
}

/// A page of an organisation's users.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OrganizationPage {
    /// Those whose address has the client's suffix: ids and addresses.
    pub found: Vec<Target>,
    /// Users on the page, of whatever client.
    pub records: usize,
    /// The first of them whose id can be read, of whatever client.
    pub first: Option<UserId>,
}

/// How much one request may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Users a request, at most [`Reach::USERS`]: the server's cap on `limit`.
    pub users: usize,
    /// Bytes of the value of `emails=`, percent-encoded.
    pub address_bytes: usize,
    /// Whether the server lists users by address.
    pub by_addresses: bool,
}

impl Reach {
    /// What Cal.com's server allows.
    pub const USERS: usize = 250;

    /// What goes through the usual limit of 8 KB on a request's first line, with room for the rest of it.
    pub const ADDRESS_BYTES: usize = 7_500;

    /// The highest `offset` that Cal.com's server allows.
    pub const MAX_OFFSET: usize = 250;
}

impl Default for Reach {
    fn default() -> Self {
        Self {
            users: Self::USERS,
            address_bytes: Self::ADDRESS_BYTES,
            by_addresses: true,
        }
    }
}

/// What a server shows of itself. Believed until the process ends, or for a day: servers are upgraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lesson {
    /// It ignores or refuses `emails=`.
    NotByAddresses,
    /// It gives no more users than this at once.
    AtMostUsers(usize),
    /// An address line of so many bytes is too long for it, or for something in front of it.
    TooManyBytes(usize),
}
