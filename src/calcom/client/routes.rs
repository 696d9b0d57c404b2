//! Where a client's users are, and what has to be sent there.

use std::fmt::Write;

use reqwest::header::{self, HeaderMap, HeaderValue};
use secrecy::ExposeSecret;
use url::Url;

use crate::{
    calcom::{Reach, address},
    config,
    model::{ClientId, Target, UserId},
};

/// The addresses of one client's requests, and the headers of each.
#[derive(Debug)]
pub(super) struct Routes {
    /// `…/v2/oauth-clients/{clientId}/users`.
    users: Url,
    /// `…/v2/organizations`.
    organizations: Url,
    pub(super) headers: HeaderMap,
}

/// The part of the credentials that no request can hold.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unsendable(pub(super) &'static str);

impl Routes {
    pub(super) fn new(base_url: &Url, config: &config::Client) -> Result<Self, Unsendable> {
        let id = config.id.as_str();
        // These would lead to another address, for all that is percent-encoded.
        if matches!(id, "" | "." | "..") || id.chars().any(char::is_control) {
            return Err(Unsendable("id"));
        }
        let below = |segments: &[&str]| {
            let mut url = base_url.clone();
            url.path_segments_mut()
                .map_err(|()| Unsendable("base address"))?
                .pop_if_empty()
                .extend(segments);
            Ok(url)
        };
        let mut secret =
            HeaderValue::from_str(config.secret.expose_secret()).map_err(|_| Unsendable("secret"))?;
        secret.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert("x-cal-secret-key", secret);
        // Chooses the rate limit's bucket: without it the caller is counted by its IP address.
        let client_id = HeaderValue::from_str(id).map_err(|_| Unsendable("id"))?;
        headers.insert("x-cal-client-id", client_id);
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        Ok(Self {
            users: below(&["v2", "oauth-clients", id, "users"])?,
            organizations: below(&["v2", "organizations"])?,
            headers,
        })
    }

    pub(super) fn user(&self, user: UserId) -> Url {
        let mut url = self.users.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&user.to_string());
        }
        url
    }

    /// `None` if there is nobody who can be asked for by an address.
    pub(super) fn by_addresses(&self, targets: &[Target], limit: usize, client: &ClientId) -> Option<Url> {
        let mut query = String::with_capacity(Reach::ADDRESS_BYTES + 64);
        write!(query, "limit={limit}&emails=").ok()?;
        let begin = query.len();
        for email in targets.iter().filter_map(|target| target.email.as_deref()) {
            let end = query.len();
            if end > begin {
                query.push(',');
            }
            if !address::push(&mut query, email, client) {
                query.truncate(end);
            }
        }
        (query.len() > begin).then(|| with_query(&self.users, &query))
    }

    pub(super) fn page(&self, offset: usize, limit: usize) -> Url {
        with_query(&self.users, &format!("limit={limit}&offset={offset}"))
    }

    pub(super) fn organization_page(&self, organization: i64, take: usize, skip: usize) -> Url {
        let mut url = with_query(&self.organizations, &format!("take={take}&skip={skip}"));
        if let Ok(mut path) = url.path_segments_mut() {
            path.push(&organization.to_string()).push("users");
        }
        url
    }
}

fn with_query(url: &Url, query: &str) -> Url {
    let mut url = url.clone();
    url.set_query(Some(query));
    url
}
