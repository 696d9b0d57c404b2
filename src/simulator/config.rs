//! What a simulator is to be like, and what it takes to be one of its clients.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

use super::{
    faults::Faults,
    lists::Lists,
    people::People,
    record::Record,
    throttle::RateLimit,
    world::{Client, Organization, World},
};
use crate::clock::{SharedClock, SystemClock};

/// What a simulator is to be like. The same values give the same world.
#[derive(Clone, Debug)]
pub struct SimulatorConfig {
    pub host: IpAddr,
    /// 0: any that is free.
    pub port: u16,
    /// In front of `/v2`, such as `/api` of a self-hosted Cal.com; empty for none.
    pub path_prefix: String,
    pub seed: u64,
    pub clients: usize,
    pub users_per_client: usize,
    /// To which all clients belong.
    pub organization_id: i64,
    /// Members of the organisation who are no client's users.
    pub plain_members: usize,
    pub rate_limit: RateLimit,
    pub faults: Faults,
    pub lists: Lists,
    /// What windows, blocks, lags in time and time stamps go by. Latencies are real time.
    pub clock: SharedClock,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            host: Ipv4Addr::LOCALHOST.into(),
            port: 0,
            path_prefix: String::new(),
            seed: 1,
            clients: 1,
            users_per_client: 10,
            organization_id: 1,
            plain_members: 0,
            rate_limit: RateLimit::default(),
            faults: Faults::default(),
            lists: Lists::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl SimulatorConfig {
    /// The clients with their users.
    pub(super) fn invent(&self) -> World {
        let credentials: Vec<_> = (0..self.clients)
            .map(|index| People::credentials(self.seed, index))
            .collect();
        let mut people = People::new(self.seed);
        let mut settled: Vec<_> = credentials
            .iter()
            .map(|_| Vec::with_capacity(self.users_per_client))
            .collect();
        let mut members = Vec::with_capacity(self.plain_members);
        people.settle(
            &credentials,
            self.users_per_client,
            self.plain_members,
            |client, user| {
                let record = Arc::new(Record::of(&user));
                match client {
                    Some(client) => settled[client].push(record),
                    None => members.push(record),
                }
            },
        );
        let world = World::new(Organization::new(self.organization_id, members));
        world.skip_ids_to(people.next_id() - 1);
        for (credentials, users) in credentials.into_iter().zip(settled) {
            world.add(Client::new(
                credentials.name,
                credentials.id,
                credentials.secret,
                users,
            ));
        }
        world
    }
}

/// What a caller needs to be one client, and whom it may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientInfo {
    pub name: String,
    pub id: String,
    pub secret: String,
    /// Ascending.
    pub users: Vec<i64>,
}
