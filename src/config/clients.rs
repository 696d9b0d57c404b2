//! `[[clients]]`.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap, HashMap},
};

use super::{
    Calcom, Client, FetchPlan, Schedule, calcom, names,
    reading::Reading,
    schedule, secret,
    section::{Said, Section},
    tree::{Origin, Raw, Table},
    users,
};
use crate::model::{ClientId, UserId};

pub(super) const KEYS: [&str; 10] = [
    "name",
    "id",
    "secret",
    "users",
    "users_file",
    "users_sql",
    "organization_id",
    "fetch",
    "requests_per_minute",
    "cron",
];

/// The keys that a variable can set: those of one plain value. A name would be a moving target.
pub(super) const OVERRIDABLE: [&str; 7] = [
    "id",
    "users_file",
    "users_sql",
    "organization_id",
    "fetch",
    "requests_per_minute",
    "cron",
];

/// What to do for the other keys.
pub(super) fn instead_of_variable(key: &str) -> &'static str {
    match key {
        "secret" => "write secret = { env = \"NAME\" } in the file, and set that variable",
        "users" => "set users_file instead",
        _ => "set it in the file",
    }
}

const MAX_NAME_BYTES: usize = 63;

/// A client that has a name, for the checks across clients.
struct Block {
    client: Client,
    /// Where its users are said.
    origin: Origin,
    /// Where its own `fetch` is said.
    said_fetch: Option<Origin>,
}

pub(super) fn read(
    root: &Table,
    calcom: &Calcom,
    schedule: &Schedule,
    reading: &mut Reading<'_>,
) -> Vec<Client> {
    const FORM: &str = "write [[clients]], with two brackets, and below it name, id, secret and users";
    let Some(node) = root.get("clients") else {
        let message = "no client is configured";
        reading.fault(&Origin::Nowhere, "clients", message, FORM);
        return Vec::new();
    };
    let nodes = match &node.raw {
        Raw::Array(nodes) if !nodes.is_empty() => nodes,
        Raw::Array(_) => {
            reading.fault(&node.origin, "clients", "no client is configured", FORM);
            return Vec::new();
        }
        other => {
            reading.fault(
                &node.origin,
                "clients",
                format!("must be a list of blocks, not {}", other.kind()),
                FORM,
            );
            return Vec::new();
        }
    };
    let mut names = HashMap::new();
    let mut blocks = Vec::new();
    for node in nodes {
        let Raw::Table(table) = &node.raw else {
            reading.fault(
                &node.origin,
                "clients",
                format!("must be a block, not {}", node.raw.kind()),
                FORM,
            );
            continue;
        };
        blocks.extend(block(table, &node.origin, calcom, schedule, &mut names, reading));
    }
    refuse_short_lists(&blocks, root, reading);
    refuse_shared_users(&blocks, reading);
    refuse_shared_ids(&blocks, reading);
    blocks.into_iter().map(|block| block.client).collect()
}

fn block(
    table: &Table,
    origin: &Origin,
    calcom: &Calcom,
    schedule: &Schedule,
    names: &mut HashMap<String, Origin>,
    reading: &mut Reading<'_>,
) -> Option<Block> {
    let mut section = Section {
        path: "clients".to_owned(),
        table: Some(table),
        origin: origin.clone(),
    };
    let name = required(
        "name",
        "write name = \"…\", which logs and --client call it by",
        &section,
        reading,
    )
    .and_then(|said| checked_name(said, names, reading));
    if let Some(name) = &name {
        section.path = format!("clients.{name}");
    }
    names::refuse_unknown(&section, "clients", &KEYS, reading);
    let id = required(
        "id",
        "write the OAuth client's id, as Cal.com shows it",
        &section,
        reading,
    )
    .and_then(|said| checked_id(said, &section, reading));
    let secret = secret::read(&section, "secret", reading);
    let watch = users::read(&section, reading);
    let fetch = calcom::fetch(&section, calcom.fetch, reading);
    let requests_per_minute = calcom::requests_per_minute(&section, calcom.requests_per_minute, reading);
    let cron = schedule::cron(&section, &schedule.cron, reading);
    let origin = users::SAYING_WHO
        .iter()
        .find_map(|key| section.node(key))
        .map_or_else(|| origin.clone(), |node| node.origin.clone());
    let (secret, secret_source) = secret?;
    Some(Block {
        client: Client {
            name: name?,
            id: id?,
            secret,
            secret_source,
            watch,
            fetch,
            requests_per_minute,
            cron,
        },
        origin,
        said_fetch: section.node("fetch").map(|node| node.origin.clone()),
    })
}

fn required(
    key: &str,
    remedy: &str,
    section: &Section<'_>,
    reading: &mut Reading<'_>,
) -> Option<Said<String>> {
    if section.node(key).is_none() {
        reading.fault(&section.origin, section.key(key), "is missing", remedy);
    }
    section.text(key, reading)
}

fn checked_name(
    said: Said<String>,
    names: &mut HashMap<String, Origin>,
    reading: &mut Reading<'_>,
) -> Option<String> {
    let name = said.value;
    if !is_plain(&name) || name.len() > MAX_NAME_BYTES {
        let message = format!(
            "must be letters, digits, - _ and . (at most {MAX_NAME_BYTES}), beginning with a letter or digit"
        );
        reading.fault(&said.origin, "clients.name", message, "");
        return None;
    }
    if let Some(first) = names.get(&name) {
        let line = reading
            .line(first)
            .map_or_else(String::new, |line| format!(" (line {line})"));
        let message = format!("{name:?} is also another client's name{line}");
        reading.fault(
            &said.origin,
            "clients.name",
            message,
            "give each client a name of its own",
        );
        // Kept: the other faults of the block read better with its name.
        return Some(name);
    }
    names.insert(name.clone(), said.origin);
    Some(name)
}

fn checked_id(said: Said<String>, section: &Section<'_>, reading: &mut Reading<'_>) -> Option<ClientId> {
    if is_plain(&said.value) {
        return Some(ClientId(said.value));
    }
    // It becomes a part of each request's path.
    let message = "must be letters, digits, - _ and . only";
    reading.fault(
        &said.origin,
        section.key("id"),
        message,
        "copy the client's id from Cal.com",
    );
    None
}

fn is_plain(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text
            .bytes()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, b'-' | b'_' | b'.'))
}

/// What Cal.com's list gives at most: 250 users from offset 250.
const MAX_LISTED: usize = 500;

/// A plan that cannot reach a client's users is a fault, where the file says both.
fn refuse_short_lists(blocks: &[Block], root: &Table, reading: &mut Reading<'_>) {
    for Block {
        client, said_fetch, ..
    } in blocks
    {
        let users = client.watch.listed.len();
        if client.fetch != FetchPlan::List || users <= MAX_LISTED {
            continue;
        }
        let (origin, key) = match said_fetch {
            Some(origin) => (origin.clone(), format!("clients.{}.fetch", client.name)),
            None => (of_all(root), "calcom.fetch".to_owned()),
        };
        let message = format!(
            "\"list\" cannot reach all of client {:?}: Cal.com lists {MAX_LISTED} users at most, and it has {users}",
            client.name
        );
        let remedy = "write \"auto\", \"get\" or \"bulk\"";
        reading.fault(&origin, key, message, remedy);
    }
}

/// Where `fetch` is said for all clients.
fn of_all(root: &Table) -> Origin {
    let calcom = root.get("calcom").map(|node| &node.raw);
    match calcom {
        Some(Raw::Table(table)) => table.get("fetch").map(|node| node.origin.clone()),
        _ => None,
    }
    .unwrap_or(Origin::Nowhere)
}

/// Users of one client that another lists as well.
#[derive(Default)]
struct Shared {
    first: Vec<UserId>,
    count: usize,
}

/// Ids of users are unique within a Cal.com instance, so a user has one client.
fn refuse_shared_users(blocks: &[Block], reading: &mut Reading<'_>) {
    // All lists at once from their beginnings: an index of all users would take more than the lists.
    let mut next: BinaryHeap<Reverse<(UserId, usize)>> = BinaryHeap::new();
    let mut lists: Vec<_> = blocks
        .iter()
        .map(|block| block.client.watch.listed.iter())
        .collect();
    let first = lists.iter_mut().enumerate();
    next.extend(first.filter_map(|(index, list)| Some(Reverse((list.next()?, index)))));
    let mut shared: BTreeMap<(usize, usize), Shared> = BTreeMap::new();
    let mut owner = None;
    while let Some(Reverse((user, index))) = next.pop() {
        next.extend(lists[index].next().map(|user| Reverse((user, index))));
        match owner {
            Some((owned, owner)) if owned == user => {
                let shared = shared.entry((index, owner)).or_default();
                if shared.first.len() < SHOWN {
                    shared.first.push(user);
                }
                shared.count += 1;
            }
            _ => owner = Some((user, index)),
        }
    }
    for ((index, owner), shared) in shared {
        let (block, other) = (&blocks[index], &blocks[owner].client);
        // That is one fault of the blocks, not one of each user.
        if other.id == block.client.id {
            continue;
        }
        let message = format!("{} also listed for client {:?}", listed(&shared), other.name);
        let remedy = "a managed user belongs to one OAuth client: list each user there alone";
        let key = format!("clients.{}.users", block.client.name);
        reading.fault(&block.origin, key, message, remedy);
    }
}

const SHOWN: usize = 3;

fn listed(shared: &Shared) -> String {
    let shown: Vec<_> = shared.first.iter().map(UserId::to_string).collect();
    match shared.count {
        1 => format!("user {} is", shown[0]),
        n if n > SHOWN => format!("users {} and {} more are", shown.join(", "), n - SHOWN),
        _ => format!("users {} are", shown.join(", ")),
    }
}

/// Passes, freshness and the rate limit go by the client's id.
fn refuse_shared_ids(blocks: &[Block], reading: &mut Reading<'_>) {
    let mut first: HashMap<&ClientId, &str> = HashMap::new();
    for Block { client, origin, .. } in blocks {
        match first.get(&client.id) {
            Some(other) => {
                let message = format!("is the same OAuth client as {other:?}");
                let remedy = "join the blocks: a client has one schedule, one rate limit and one freshness";
                reading.fault(origin, format!("clients.{}.id", client.name), message, remedy);
            }
            None => {
                first.insert(&client.id, &client.name);
            }
        }
    }
}
