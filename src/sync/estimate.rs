//! What a pass will cost: how many requests each way of asking takes, how long that is, and whether it fits the schedule.
//!
//! Pure: what is known of the users comes from [`Store::population`](crate::store::Store::population), and what the server
//! allows from [`Source::reach`](crate::calcom::Source::reach).

use std::time::Duration;

use chrono::{DateTime, Utc};

use crate::{
    calcom::{BURST_DIVISOR, Reach},
    config::FetchPlan,
    model::{Allowance, rfc3339},
    store::Counted,
};

/// The users of a pass, as far as they are known before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Population {
    /// To be asked for.
    pub users: u64,
    /// Of these: whose address is known and can be asked for.
    pub with_address: u64,
    /// What these addresses take in URLs, percent-encoded, separators included.
    pub address_bytes: u64,
    /// `users = "all"`: others may be found beside them, by the pages of the client's list.
    pub everyone: bool,
}

impl Population {
    /// What the database counted, of a client that watches everyone or not.
    pub const fn of(counted: Counted, everyone: bool) -> Self {
        Self {
            users: counted.users,
            with_address: counted.with_address,
            address_bytes: counted.address_bytes,
            everyone,
        }
    }

    /// The same of users who all have an address, of which some are found out only when they are asked for: taken to be as long as
    /// the known ones are on average.
    #[must_use]
    pub fn with_all_addresses(self) -> Self {
        let (users, known) = (u128::from(self.users), u128::from(self.with_address.max(1)));
        let address_bytes = (u128::from(self.address_bytes) * users).div_ceil(known);
        Self {
            with_address: self.users,
            address_bytes: u64::try_from(address_bytes).unwrap_or(u64::MAX),
            ..self
        }
    }
}

/// How many requests a pass takes at least, when every one is answered and nobody has changed their address; of
/// [`FetchPlan::Auto`], the fewest of all plans. None where the plan is not possible: more users are listed than the client's list
/// can show.
pub fn requests(plan: FetchPlan, population: &Population, reach: &Reach) -> Option<u64> {
    let discovery = if population.everyone {
        pages(population.users, reach)
    } else {
        0
    };
    match plan {
        FetchPlan::Auto => requests(choose(plan, population, reach), population, reach),
        FetchPlan::Get => Some(population.users + discovery),
        FetchPlan::Bulk => Some(bulk(population, reach) + discovery),
        FetchPlan::List if !population.everyone && population.users > MOST_LISTED => None,
        FetchPlan::List => {
            let beyond = population.users.saturating_sub(shown(reach));
            Some(pages(population.users, reach) + beyond)
        }
    }
}

/// The plan by which users are asked for: the configured one, or the one with the fewest requests. Where two have as few, the
/// earlier of get, bulk and list: it rests on less.
pub fn choose(configured: FetchPlan, population: &Population, reach: &Reach) -> FetchPlan {
    if configured != FetchPlan::Auto {
        return configured;
    }
    PLANS
        .into_iter()
        .min_by_key(|plan| requests(*plan, population, reach).unwrap_or(u64::MAX))
        .unwrap_or(FetchPlan::Get)
}

/// Every plan that users can be asked by, simplest first.
pub const PLANS: [FetchPlan; 3] = [FetchPlan::Get, FetchPlan::Bulk, FetchPlan::List];

/// How long so many requests take: at the client's own rate, of which the first burst is free, or within what the server allows, if
/// that takes longer. None where there is neither such a rate (0) nor anything known of the server.
pub fn duration(requests: u64, requests_per_minute: u32, allowance: Option<Allowance>) -> Option<Duration> {
    paced(requests, requests_per_minute).max(allowance.map(|allowance| windows(requests, allowance)))
}

fn paced(requests: u64, requests_per_minute: u32) -> Option<Duration> {
    const MINUTE: u128 = 60_000_000_000;
    if requests_per_minute == 0 {
        return None;
    }
    let burst = u64::from((requests_per_minute / BURST_DIVISOR).max(1));
    let paced = u128::from(requests.saturating_sub(burst));
    let nanos = paced * MINUTE / u128::from(requests_per_minute);
    Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
}

/// Until the window begins that holds the last of them.
fn windows(requests: u64, allowance: Allowance) -> Duration {
    let windows = requests.saturating_sub(1) / allowance.requests.max(1);
    let windows = u32::try_from(windows).unwrap_or(u32::MAX);
    allowance.window.checked_mul(windows).unwrap_or(Duration::MAX)
}

/// What to say of a pass that needs so long, if it cannot end before the next tick. `is_ours`: a higher rate of our own would help.
pub fn late(now: DateTime<Utc>, next_tick: DateTime<Utc>, needed: Duration, is_ours: bool) -> Option<String> {
    let end = chrono::TimeDelta::from_std(needed)
        .ok()
        .and_then(|needed| now.checked_add_signed(needed));
    if end.is_some_and(|end| end <= next_tick) {
        return None;
    }
    let end = end.map_or_else(|| "in more years than there are".to_owned(), at);
    let rate = if is_ours {
        " or a higher requests_per_minute"
    } else {
        ""
    };
    Some(format!(
        "the pass is expected to end {end}, after the next tick ({}): that tick waits for it, and further ones are skipped; \
         choose a slower schedule.cron{rate}",
        rfc3339(next_tick)
    ))
}

fn at(end: DateTime<Utc>) -> String {
    use chrono::SubsecRound as _;
    // No estimate is true to the second; of a fraction there is no need to speak.
    format!("at {}", rfc3339(end.round_subsecs(0)))
}

/// What the client's list can show, of a server that allows what Cal.com's does.
const MOST_LISTED: u64 = (Reach::MAX_OFFSET + Reach::USERS) as u64;

fn bulk(population: &Population, reach: &Reach) -> u64 {
    if !reach.by_addresses {
        return population.users;
    }
    let with_address = population.with_address.min(population.users);
    let by_users = with_address.div_ceil(at_least_one(reach.users));
    let by_bytes = population
        .address_bytes
        .div_ceil(at_least_one(reach.address_bytes));
    // No request is for less than one of them.
    by_users.max(by_bytes).min(with_address) + (population.users - with_address)
}

/// Pages of the client's list until its end is seen, or the highest offset is used.
fn pages(users: u64, reach: &Reach) -> u64 {
    let limit = at_least_one(reach.users);
    // The page after the last full one shows that there is no more.
    (users / limit + 1).min((Reach::MAX_OFFSET as u64).div_ceil(limit) + 1)
}

/// How many users these pages can show.
fn shown(reach: &Reach) -> u64 {
    Reach::MAX_OFFSET as u64 + at_least_one(reach.users)
}

fn at_least_one(number: usize) -> u64 {
    (number as u64).max(1)
}

#[cfg(test)]
mod tests;
