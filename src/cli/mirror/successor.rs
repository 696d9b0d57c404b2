//! A mirror by another configuration, while passes by the one before may be under way.

use std::sync::Arc;

use super::{Database, Mirror, clients};
use crate::{
    calcom::Api,
    config::{self, Config},
};

impl Mirror {
    /// The same mirror by another configuration. What a client knows of its rate limit, and what does not change, is shared with
    /// this one, whose passes under way go on.
    ///
    /// # Errors
    ///
    /// As [`Mirror::open`].
    pub async fn after(&self, config: Config) -> anyhow::Result<Self> {
        let api = if config.calcom == self.config.calcom {
            self.api.clone()
        } else {
            Api::new(&config.calcom)?
        };
        let before = |client: &config::Client| self.clients.iter().find(|known| known.client.id == client.id);
        let clients = clients(&config, |client| match before(client) {
            Some(known) => api.client_after(client, &known.source),
            None => api.client(client),
        })?;
        let (old, new) = (&self.config.database, &config.database);
        let tells_alike = config.notify.postgres == self.config.notify.postgres;
        let database = if new.is_same(old) && tells_alike {
            Arc::clone(&self.database)
        } else {
            let mut database = if new.is_at(old) {
                self.database.reopen(new).await?
            } else {
                Database::open(new).await?
            };
            database.tell_as(&config.notify);
            Arc::new(database)
        };
        Ok(Self {
            config,
            database,
            clients,
            api,
            process: self.process,
            under_way: Arc::default(),
        })
    }
}
