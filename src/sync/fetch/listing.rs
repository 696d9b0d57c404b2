//! Asking for the pages of the client's list.

use std::collections::{HashMap, HashSet};

use futures_util::{StreamExt, stream::FuturesOrdered};
use tokio_util::sync::CancellationToken;

use super::{Course, Delivery};
use crate::{
    calcom::{Disposition, Error, Lesson, Reach, Roll, Scope, Source},
    model::{Fingerprint, Target, UserId},
};

/// What the list gave.
#[derive(Debug, Default)]
pub(in crate::sync) struct Listing {
    /// Users that are dealt with.
    pub(in crate::sync) observed: HashSet<UserId>,
    pub(in crate::sync) end: End,
}

/// Where the list ended.
#[derive(Debug, Default)]
pub(in crate::sync) enum End {
    /// There is nobody after the last page.
    #[default]
    Whole,
    /// The last page that Cal.com gives was full: there may be more users.
    Ceiling,
    /// It cannot be had. That is no failure: users can be asked for otherwise.
    Refused(Error),
    /// The pass is over: see its course.
    Over,
}

/// How the list is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::sync) struct Manner {
    /// A first page that is not full is not taken for all of the list: a server may give fewer users at once than it is asked for.
    pub(in crate::sync) until_empty: bool,
    /// How many users are expected on it, where two pages may be asked for at the same time.
    pub(in crate::sync) expected: Option<usize>,
}

/// Asks for the pages of the client's list, and delivers those users on them that are wanted. At most the 500 that Cal.com lists.
///
/// The second page is asked for beside the first where as many users are expected as the first can hold, and the others one after the other.
pub(in crate::sync) async fn list<S: Source>(
    source: &S,
    known: &[Target],
    wanted: impl Fn(UserId) -> bool,
    manner: Manner,
    cancel: &CancellationToken,
    delivery: &Delivery<'_>,
    course: &mut Course,
) -> Listing {
    let known: HashMap<Fingerprint, UserId> = known
        .iter()
        .filter_map(|target| Some((target.fingerprint?, target.id)))
        .collect();
    let expected: HashMap<UserId, Fingerprint> = known.iter().map(|(print, id)| (*id, *print)).collect();
    let mut listing = Listing::default();
    let mut offset = 0;
    // So many users were on the first page, which was not full.
    let mut capped_at = None;
    // Only a page with fewer users than another one is the last.
    let mut largest = 0;
    let mut users = manner.expected;
    let ask = |offset, limit| source.page(offset, limit, &known);
    // Where, and how much, the page is that was asked for beside the first.
    let mut beside = None;
    let mut pages = FuturesOrdered::new();
    loop {
        let limit = source.reach().users;
        if beside.is_some_and(|page| page != (offset, limit)) {
            // If it is still to come, the first page was refused, or shorter than it could be.
            pages.clear();
        }
        if pages.is_empty() {
            pages.push_back(ask(offset, limit));
            beside =
                (offset == 0 && users.take_if(|users| *users >= limit).is_some()).then_some((limit, limit));
            pages.extend(beside.map(|(offset, limit)| ask(offset, limit)));
        }
        let page = tokio::select! {
            biased;
            () = cancel.cancelled() => {
                course.cut = true;
                listing.end = End::Over;
                return listing;
            }
            page = pages.select_next_some() => page,
        };
        let Roll { seen, records, .. } = match page {
            Ok(roll) => roll,
            Err(Error::LimitRefused { max }) if limit > 1 => {
                source.learn(Lesson::AtMostUsers(max.unwrap_or(limit / 2).clamp(1, limit - 1)));
                continue;
            }
            Err(error)
                if error.scope() == Scope::Client && error.disposition() == Disposition::StopClient =>
            {
                course.stopped = Some(error);
                listing.end = End::Over;
                return listing;
            }
            Err(error) => {
                listing.end = End::Refused(error);
                return listing;
            }
        };
        if records > 0
            && let Some(cap) = capped_at.take()
        {
            source.learn(Lesson::AtMostUsers(cap));
        }
        for seen in seen {
            let id = seen.user_id();
            // A user may move from one page to the next while others are deleted.
            if !wanted(id) || !listing.observed.insert(id) {
                continue;
            }
            if !delivery
                .deliver(seen, expected.get(&id).copied(), None, course)
                .await
            {
                listing.end = End::Over;
                return listing;
            }
        }
        let is_first = offset == 0;
        let is_last = records == 0
            || if is_first {
                records < limit && !(manner.until_empty || may_be_a_cap(records))
            } else {
                records < largest
            };
        if is_last {
            return listing;
        }
        largest = largest.max(records);
        if offset >= Reach::MAX_OFFSET {
            listing.end = End::Ceiling;
            return listing;
        }
        capped_at = (is_first && records < limit).then_some(records);
        offset = (offset + records).min(Reach::MAX_OFFSET);
    }
}

/// Whether a page that is not full may be all that the server gives at once, whatever it is asked for.
fn may_be_a_cap(records: usize) -> bool {
    records.is_multiple_of(10)
}
