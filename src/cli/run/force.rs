//! Which configuration is in force, and which have passes that are not over.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;

use super::super::mirror::Mirror;
use crate::{daemon::Scheduled, model::ClientId};

/// The mirror by the configuration in force. Passes begin by it, and end by the one that they began with.
pub(super) struct Force(Mutex<State>);

struct State {
    mirror: Arc<Mirror>,
    /// Of earlier configurations.
    retired: Vec<Arc<Mirror>>,
    /// The daemon's numbers of clients: their places here. A client keeps its own, also while it is not configured.
    numbers: Vec<ClientId>,
}

impl Force {
    pub(super) fn new(mirror: Arc<Mirror>) -> Self {
        let mut state = State {
            mirror,
            retired: Vec::new(),
            numbers: Vec::new(),
        };
        state.number();
        Self(Mutex::new(state))
    }

    pub(super) fn mirror(&self) -> Arc<Mirror> {
        Arc::clone(&self.state().mirror)
    }

    /// The mirror in force, and the client's place in it; none if the client is not configured any more.
    pub(super) fn mirror_of(&self, number: usize) -> Option<(Arc<Mirror>, usize)> {
        let state = self.state();
        let id = &state.numbers[number];
        let place = state
            .mirror
            .clients
            .iter()
            .position(|watched| watched.client.id == *id)?;
        Some((Arc::clone(&state.mirror), place))
    }

    /// Whether the client is configured, and called so.
    pub(super) fn has(&self, number: usize, name: &str) -> bool {
        self.mirror_of(number)
            .is_some_and(|(mirror, place)| mirror.clients[place].client.name == name)
    }

    /// Passes go by another mirror from here on. The one before is to be closed by [`Force::close_retired`].
    pub(super) fn replace(&self, mirror: Arc<Mirror>) {
        let mut state = self.state();
        let before = std::mem::replace(&mut state.mirror, mirror);
        state.retired.push(before);
        state.number();
    }

    /// The clients in force, as the daemon wants them.
    pub(super) fn scheduled(&self) -> Vec<Scheduled> {
        let state = self.state();
        let clients = state.mirror.clients.iter().map(|watched| {
            let number = state.numbers.iter().position(|id| *id == watched.client.id);
            Scheduled {
                number: number.expect("each client was given a number"),
                name: watched.client.name.clone(),
                cron: watched.cron.clone(),
                at_once: state.mirror.config.schedule.at_start,
            }
        });
        clients.collect()
    }

    /// Closes the mirrors that have no pass under way any more and are not in force.
    pub(super) async fn close_retired(&self) {
        let mut over = Vec::new();
        self.state().retired.retain(|mirror| {
            // Nobody takes hold of a retired one again.
            let is_over = Arc::strong_count(mirror) == 1;
            if is_over {
                over.push(Arc::clone(mirror));
            }
            !is_over
        });
        join_all(over.into_iter().map(close)).await;
    }

    pub(super) async fn close(self) {
        let state = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        // At the same time: each may have to wait for a database that is silent.
        join_all(state.retired.into_iter().chain([state.mirror]).map(close)).await;
    }

    /// Whoever panicked in between has left whole values behind.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn number(&mut self) {
        for watched in &self.mirror.clients {
            if !self.numbers.contains(&watched.client.id) {
                self.numbers.push(watched.client.id.clone());
            }
        }
    }
}

async fn close(mirror: Arc<Mirror>) {
    if let Some(mirror) = Arc::into_inner(mirror) {
        mirror.close().await;
    }
}
