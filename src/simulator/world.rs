//! The clients and their users, as the source's database and its lagging replica hold them.

mod organization;
mod views;

use std::sync::{
    Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
    atomic::{AtomicI64, Ordering},
};

use super::{record::Record, refusal::Refusal};
pub(super) use organization::Organization;
pub(super) use views::Moment;
pub use views::ReadLag;
use views::{View, Views};

/// Every client and, through them, every user.
#[derive(Debug)]
pub(super) struct World {
    /// To which all clients belong.
    pub(super) organization: Organization,
    clients: RwLock<Vec<Arc<Client>>>,
    last_id: AtomicI64,
}

#[derive(Debug)]
pub(super) struct Client {
    pub(super) name: String,
    pub(super) id: String,
    access: RwLock<Access>,
    views: RwLock<Views>,
}

/// What it takes to be let in.
#[derive(Clone, Debug)]
struct Access {
    secret: String,
    forbidden: bool,
}

impl World {
    pub(super) fn new(organization: Organization) -> Self {
        Self {
            organization,
            clients: RwLock::default(),
            last_id: AtomicI64::new(0),
        }
    }

    pub(super) fn add(&self, client: Client) {
        write(&self.clients).push(Arc::new(client));
    }

    /// Later clients get no id up to this one.
    pub(super) fn skip_ids_to(&self, id: i64) {
        self.last_id.fetch_max(id, Ordering::Relaxed);
    }

    /// An id that no user has or had.
    pub(super) fn next_id(&self) -> i64 {
        self.last_id.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn remove(&self, client_id: &str) -> bool {
        let mut clients = write(&self.clients);
        let before = clients.len();
        clients.retain(|client| client.id != client_id);
        clients.len() < before
    }

    pub(super) fn clients(&self) -> Vec<Arc<Client>> {
        read(&self.clients).clone()
    }

    pub(super) fn client(&self, id: &str) -> Result<Arc<Client>, Refusal> {
        read(&self.clients)
            .iter()
            .find(|client| client.id == id)
            .cloned()
            .ok_or_else(|| Refusal::UnknownClient(id.to_owned()))
    }

    /// The client whose user this is, at the primary.
    pub(super) fn owner(&self, id: i64) -> Result<Arc<Client>, Refusal> {
        read(&self.clients)
            .iter()
            .find(|client| client.primary(id).is_some())
            .cloned()
            .ok_or(Refusal::NotOurUser(id))
    }
}

impl Client {
    pub(super) fn new(name: String, id: String, secret: String, users: Vec<Arc<Record>>) -> Self {
        Self {
            name,
            id,
            access: RwLock::new(Access {
                secret,
                forbidden: false,
            }),
            views: RwLock::new(Views::of(users)),
        }
    }

    pub(super) fn secret(&self) -> String {
        read(&self.access).secret.clone()
    }

    pub(super) fn set_secret(&self, secret: &str) {
        secret.clone_into(&mut write(&self.access).secret);
    }

    pub(super) fn set_forbidden(&self, forbidden: bool) {
        write(&self.access).forbidden = forbidden;
    }

    /// Whether this secret lets a caller in.
    pub(super) fn admit(&self, secret: &str) -> Result<(), Refusal> {
        let access = read(&self.access);
        if access.secret != secret {
            Err(Refusal::WrongSecret)
        } else if access.forbidden {
            Err(Refusal::Forbidden(self.id.clone()))
        } else {
            Ok(())
        }
    }

    pub(super) fn primary(&self, id: i64) -> Option<Arc<Record>> {
        read(&self.views).primary.users.get(&id).cloned()
    }

    /// Ids at the primary, ascending.
    pub(super) fn ids(&self) -> Vec<i64> {
        read(&self.views).primary.users.keys().copied().collect()
    }

    pub(super) fn get(&self, id: i64, now: Moment) -> Result<Arc<Record>, Refusal> {
        self.read(now, |view| view.users.get(&id).cloned())
            .ok_or(Refusal::NotOurUser(id))
    }

    /// A page of the users, ids ascending; of those with these addresses, where some are given.
    pub(super) fn page(
        &self,
        emails: Option<&[String]>,
        offset: usize,
        limit: usize,
        now: Moment,
    ) -> Vec<Arc<Record>> {
        self.read(now, |view| match emails {
            None => view.users.values().skip(offset).take(limit).cloned().collect(),
            Some(emails) => {
                let found = emails.iter().filter_map(|email| view.by_email(email));
                cut(found.cloned().collect(), offset, limit)
            }
        })
    }

    /// The user who has this address.
    fn by_email(&self, email: &str, now: Moment) -> Option<Arc<Record>> {
        self.read(now, |view| view.by_email(email).cloned())
    }

    /// Another number when users have come or gone.
    fn membership(&self, now: Moment) -> u64 {
        self.read(now, |view| view.membership)
    }

    /// Ids as reads see them, ascending, each with something else.
    fn visible_ids<T: Copy>(&self, with: T, now: Moment, into: &mut Vec<(i64, T)>) {
        self.read(now, |view| into.extend(view.users.keys().map(|id| (*id, with))));
    }

    /// Puts a record in the place of whatever its id had.
    pub(super) fn put(&self, record: Record, now: Moment, lag: ReadLag) {
        write(&self.views).set(record.id(), Some(Arc::new(record)), now, lag);
    }

    /// Ids at the primary with their addresses, ascending, of the users that have one.
    pub(super) fn addresses<T>(&self, map: impl Fn(i64, &str) -> T) -> Vec<T> {
        let views = read(&self.views);
        let users = views.primary.users.values();
        users
            .filter_map(|record| Some(map(record.id(), record.email()?)))
            .collect()
    }

    /// Adds a user whose address nobody has.
    pub(super) fn insert(&self, record: Record, now: Moment, lag: ReadLag) -> Result<Arc<Record>, Refusal> {
        let (id, record) = (record.id(), Arc::new(record));
        let mut views = write(&self.views);
        views.primary.refuse_taken(id, &record)?;
        views.set(id, Some(record.clone()), now, lag);
        Ok(record)
    }

    /// Replaces a user by what `change` makes of it, in one step.
    pub(super) fn update(
        &self,
        id: i64,
        now: Moment,
        lag: ReadLag,
        change: impl FnOnce(&Record) -> Option<Record>,
    ) -> Result<Arc<Record>, Refusal> {
        let mut views = write(&self.views);
        let before = views.primary.users.get(&id).ok_or(Refusal::NotOurUser(id))?;
        let after = Arc::new(change(before).ok_or(Refusal::Unhandled)?);
        views.primary.refuse_taken(id, &after)?;
        views.set(id, Some(after.clone()), now, lag);
        Ok(after)
    }

    pub(super) fn delete(&self, id: i64, now: Moment, lag: ReadLag) -> Result<Arc<Record>, Refusal> {
        write(&self.views)
            .set(id, None, now, lag)
            .ok_or(Refusal::NotOurUser(id))
    }

    fn read<T>(&self, now: Moment, look: impl FnOnce(&View) -> T) -> T {
        let views = read(&self.views);
        if !views.is_behind(now) {
            return look(&views.replica);
        }
        drop(views);
        let mut views = write(&self.views);
        views.catch_up(now);
        look(&views.replica)
    }
}

/// The page of these records: ids ascending, each once.
fn cut(mut records: Vec<Arc<Record>>, skip: usize, take: usize) -> Vec<Arc<Record>> {
    records.sort_unstable_by_key(|record| record.id());
    records.dedup_by_key(|record| record.id());
    records.into_iter().skip(skip).take(take).collect()
}

/// No code under these locks panics half-way through a change, so a poisoned one is whole.
fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: i64, requests: u64) -> Moment {
        Moment { millis, requests }
    }

    fn record(id: i64, email: &str) -> Record {
        Record::raw(id, format!(r#"{{"id":{id},"email":"{email}"}}"#).as_bytes())
    }

    fn client() -> Client {
        let users = vec![Arc::new(record(1, "a@x.org")), Arc::new(record(2, "b@x.org"))];
        Client::new("acme".to_owned(), "clx0".to_owned(), "s".to_owned(), users)
    }

    #[test]
    fn a_write_is_visible_when_its_time_has_come() {
        let client = client();
        let lag = ReadLag::Time(Duration::from_millis(50));
        client.delete(1, at(100, 1), lag).expect("the user exists");
        assert!(client.primary(1).is_none());
        assert!(client.get(1, at(149, 9)).is_ok());
        assert!(client.get(1, at(150, 9)).is_err());
    }

    #[test]
    fn a_write_is_visible_after_so_many_requests_and_never_before_an_earlier_one() {
        let client = client();
        client.put(record(3, "c@x.org"), at(0, 10), ReadLag::Requests(2));
        client
            .delete(2, at(0, 10), ReadLag::None)
            .expect("the user exists");
        assert!(client.get(3, at(0, 12)).is_err());
        assert!(client.get(2, at(0, 12)).is_ok(), "the deletion came later");
        assert!(client.get(3, at(0, 13)).is_ok());
        assert!(client.get(2, at(0, 13)).is_err());
    }

    #[test]
    fn addresses_follow_their_users() {
        let client = client();
        let now = at(0, 0);
        let find = |email: &str| client.page(Some(&[email.to_owned()]), 0, 50, now).len();
        client
            .update(1, now, ReadLag::None, |_| Some(record(1, "z@x.org")))
            .expect("the address is free");
        assert_eq!((find("a@x.org"), find("z@x.org")), (0, 1));
        let taken = client.update(1, now, ReadLag::None, |_| Some(record(1, "b@x.org")));
        assert_eq!(taken.expect_err("another user has it"), Refusal::EmailTaken);
    }
}
