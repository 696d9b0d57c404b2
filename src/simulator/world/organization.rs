//! The organisation to which the clients belong, with the users of all of them and its other members.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Client, Moment, World, cut};
use crate::simulator::record::Record;

#[derive(Debug)]
pub(in crate::simulator) struct Organization {
    pub(in crate::simulator) id: i64,
    /// Those whom no client has.
    members: BTreeMap<i64, Arc<Record>>,
    members_by_email: HashMap<String, i64>,
    order: Mutex<Order>,
}

/// All users in the order of their ids, kept so that a page far behind costs no more than the first.
#[derive(Debug, Default)]
struct Order {
    /// Good while these are the clients, and nobody has come or gone.
    of: Vec<Standing>,
    /// With the client's place in `of`; `None` for another member.
    users: Arc<Vec<(i64, Option<usize>)>>,
}

/// A client with its number of coming and going.
#[derive(Debug)]
struct Standing {
    client: Arc<Client>,
    membership: u64,
}

impl PartialEq for Standing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.client, &other.client) && self.membership == other.membership
    }
}

impl Organization {
    pub(in crate::simulator) fn new(id: i64, members: Vec<Arc<Record>>) -> Self {
        let mut members_by_email = HashMap::with_capacity(members.len());
        for member in &members {
            members_by_email.extend(member.email().map(|email| (email.to_owned(), member.id())));
        }
        Self {
            id,
            members: members.into_iter().map(|member| (member.id(), member)).collect(),
            members_by_email,
            order: Mutex::default(),
        }
    }

    pub(in crate::simulator) fn has_member(&self, id: i64) -> bool {
        self.members.contains_key(&id)
    }

    /// Writes a user as the organisation's routes show it: with more fields than the client's routes.
    ///
    /// A record that is no object with fields is written as it is.
    pub(in crate::simulator) fn write(&self, record: &Record, body: &mut Vec<u8>) {
        #[derive(Deserialize)]
        struct Named<'a> {
            #[serde(borrow)]
            username: Option<&'a RawValue>,
        }
        let json = record.json();
        let (Ok(Named { username }), Some(fields @ [_, _, ..])) =
            (serde_json::from_slice(json), json.strip_suffix(b"}"))
        else {
            body.extend_from_slice(json);
            return;
        };
        let username = username.map_or("null", RawValue::get);
        body.extend_from_slice(fields);
        body.extend_from_slice(
            concat!(
                r#","emailVerified":null,"appTheme":null,"theme":null,"hideBranding":false,"#,
                r#""brandColor":null,"darkBrandColor":null,"allowDynamicBooking":true,"verified":false,"#,
                r#""invitedTo":null,"profile":{"#,
            )
            .as_bytes(),
        );
        let (id, organization) = (record.id(), self.id);
        body.extend_from_slice(
            format!(r#""id":{id},"organizationId":{organization},"userId":{id},"username":{username}}}}}"#)
                .as_bytes(),
        );
    }
}

impl World {
    /// A page of the organisation's users, ids ascending; of those with exactly these addresses, where some are given.
    pub(in crate::simulator) fn organization_page(
        &self,
        emails: Option<&[String]>,
        skip: usize,
        take: usize,
        now: Moment,
    ) -> Vec<Arc<Record>> {
        let clients = self.clients();
        let members = &self.organization.members;
        if let Some(emails) = emails {
            let by_email = &self.organization.members_by_email;
            let found = emails.iter().filter_map(|email| {
                let member = by_email.get(email).and_then(|id| members.get(id).cloned());
                member.or_else(|| clients.iter().find_map(|client| client.by_email(email, now)))
            });
            return cut(found.collect(), skip, take);
        }
        let users = self.in_order(&clients, now);
        let page = users.iter().skip(skip).take(take);
        page.filter_map(|(id, client)| match client {
            Some(client) => clients[*client].get(*id, now).ok(),
            None => members.get(id).cloned(),
        })
        .collect()
    }

    fn in_order(&self, clients: &[Arc<Client>], now: Moment) -> Arc<Vec<(i64, Option<usize>)>> {
        let organization = &self.organization;
        let standing = |client: &Arc<Client>| Standing {
            client: client.clone(),
            membership: client.membership(now),
        };
        let of: Vec<_> = clients.iter().map(standing).collect();
        let mut order = organization.order.lock().unwrap_or_else(PoisonError::into_inner);
        if order.users.is_empty() || order.of != of {
            let mut users: Vec<_> = organization.members.keys().map(|id| (*id, None)).collect();
            for (place, client) in clients.iter().enumerate() {
                client.visible_ids(Some(place), now, &mut users);
            }
            users.sort();
            *order = Order {
                of,
                users: Arc::new(users),
            };
        }
        order.users.clone()
    }
}
