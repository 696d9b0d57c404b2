//! What the simulator was asked, for tests to read and to wait for.

use tokio::sync::watch;

/// The kinds of request that are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RouteKind {
    GetUser,
    ListUsers,
    ListOrganizationUsers,
    CreateUser,
    UpdateUser,
    DeleteUser,
    /// Anything that has no route.
    Unknown,
}

/// Requests since the start, counted as they arrive; throttled and faulty ones too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    pub total: u64,
    pub get_user: u64,
    pub list_users: u64,
    pub list_organization_users: u64,
    pub create_user: u64,
    pub update_user: u64,
    pub delete_user: u64,
    pub unknown: u64,
    /// Of the total, those refused by the rate limit.
    pub throttled: u64,
    /// Of the total, those answered by a scripted or a random fault.
    pub faulted: u64,
    /// Requests that hang at this moment.
    pub hanging: u64,
}

impl RequestCounts {
    pub(super) fn add(&mut self, kind: RouteKind) {
        self.total += 1;
        *match kind {
            RouteKind::GetUser => &mut self.get_user,
            RouteKind::ListUsers => &mut self.list_users,
            RouteKind::ListOrganizationUsers => &mut self.list_organization_users,
            RouteKind::CreateUser => &mut self.create_user,
            RouteKind::UpdateUser => &mut self.update_user,
            RouteKind::DeleteUser => &mut self.delete_user,
            RouteKind::Unknown => &mut self.unknown,
        } += 1;
    }
}

#[derive(Debug)]
pub(super) struct Counter(watch::Sender<RequestCounts>);

impl Counter {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(RequestCounts::default()))
    }

    /// Changes the counts and gives the total.
    pub(super) fn update(&self, change: impl FnOnce(&mut RequestCounts)) -> u64 {
        let mut total = 0;
        self.0.send_modify(|counts| {
            change(counts);
            total = counts.total;
        });
        total
    }

    pub(super) fn now(&self) -> RequestCounts {
        *self.0.borrow()
    }

    pub(super) async fn wait_until(&self, condition: impl FnMut(&RequestCounts) -> bool) -> RequestCounts {
        *self
            .0
            .subscribe()
            .wait_for(condition)
            .await
            .expect("the sender is borrowed meanwhile")
    }
}
