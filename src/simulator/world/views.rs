//! The users of one client at the primary, and as the replica shows them.

use std::{
    borrow::Borrow,
    collections::{BTreeMap, HashSet, VecDeque},
    hash::{Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use crate::simulator::{record::Record, refusal::Refusal};

/// How far reads are behind writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadLag {
    #[default]
    None,
    /// A write is visible after this time.
    Time(Duration),
    /// This many requests that follow the write do not see it; the next one does.
    Requests(u64),
}

/// When something happens: what read lags are measured by.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulator) struct Moment {
    /// Milliseconds since the epoch.
    pub(in crate::simulator) millis: i64,
    /// Requests so far, with the one that is being answered.
    pub(in crate::simulator) requests: u64,
}

#[derive(Debug, Default)]
pub(super) struct Views {
    pub(super) primary: View,
    pub(super) replica: View,
    /// Writes that the replica does not show yet, in their order.
    lagging: VecDeque<Lagging>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct View {
    pub(super) users: BTreeMap<i64, Arc<Record>>,
    by_email: HashSet<ByEmail>,
    /// Counts users that came or went.
    pub(super) membership: u64,
}

/// A record as its address finds it. Only records that have one are looked for.
#[derive(Clone, Debug)]
struct ByEmail(Arc<Record>);

impl Borrow<str> for ByEmail {
    fn borrow(&self) -> &str {
        self.0.email().unwrap_or_default()
    }
}

impl PartialEq for ByEmail {
    fn eq(&self, other: &Self) -> bool {
        self.0.email() == other.0.email()
    }
}

impl Eq for ByEmail {}

impl Hash for ByEmail {
    fn hash<H: Hasher>(&self, state: &mut H) {
        Borrow::<str>::borrow(self).hash(state);
    }
}

#[derive(Debug)]
struct Lagging {
    due: Due,
    id: i64,
    record: Option<Arc<Record>>,
}

#[derive(Clone, Copy, Debug)]
enum Due {
    At(i64),
    AfterRequests(u64),
}

impl Views {
    pub(super) fn of(users: Vec<Arc<Record>>) -> Self {
        let mut primary = View::default();
        primary.by_email.reserve(users.len());
        for record in users {
            primary.set(record.id(), Some(record));
        }
        Self {
            replica: primary.clone(),
            primary,
            lagging: VecDeque::new(),
        }
    }

    /// Whether the replica is yet to show what is due.
    pub(super) fn is_behind(&self, now: Moment) -> bool {
        self.lagging.front().is_some_and(|write| write.is_due(now))
    }

    pub(super) fn set(
        &mut self,
        id: i64,
        record: Option<Arc<Record>>,
        now: Moment,
        lag: ReadLag,
    ) -> Option<Arc<Record>> {
        let due = match lag {
            ReadLag::None => Due::At(now.millis),
            ReadLag::Time(lag) => Due::At(
                now.millis
                    .saturating_add(i64::try_from(lag.as_millis()).unwrap_or(i64::MAX)),
            ),
            ReadLag::Requests(lag) => Due::AfterRequests(now.requests.saturating_add(lag)),
        };
        let before = self.primary.set(id, record.clone());
        self.lagging.push_back(Lagging { due, id, record });
        self.catch_up(now);
        before
    }

    /// Shows what is due, never a write before an earlier one.
    pub(super) fn catch_up(&mut self, now: Moment) {
        while let Some(write) = self.lagging.pop_front_if(|write| write.is_due(now)) {
            self.replica.set(write.id, write.record);
        }
    }
}

impl View {
    fn set(&mut self, id: i64, record: Option<Arc<Record>>) -> Option<Arc<Record>> {
        let before = match &record {
            Some(record) => self.users.insert(id, record.clone()),
            None => self.users.remove(&id),
        };
        self.membership += u64::from(before.is_some() != record.is_some());
        // Two raw records can share an address: the entry goes only with the user that it leads to.
        if let Some(email) = before.as_ref().and_then(|before| before.email())
            && self.by_email(email).is_some_and(|found| found.id() == id)
        {
            self.by_email.remove(email);
        }
        if let Some(record) = record
            && record.email().is_some()
        {
            self.by_email.replace(ByEmail(record));
        }
        before
    }

    pub(super) fn by_email(&self, email: &str) -> Option<&Arc<Record>> {
        self.by_email.get(email).map(|found| &found.0)
    }

    pub(super) fn refuse_taken(&self, id: i64, record: &Record) -> Result<(), Refusal> {
        match record.email().and_then(|email| self.by_email(email)) {
            Some(other) if other.id() != id => Err(Refusal::EmailTaken),
            _ => Ok(()),
        }
    }
}

impl Lagging {
    fn is_due(&self, now: Moment) -> bool {
        match self.due {
            Due::At(millis) => now.millis >= millis,
            Due::AfterRequests(requests) => now.requests > requests,
        }
    }
}
