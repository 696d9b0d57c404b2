//! How servers differ in what they let a caller list.

/// The list routes of a server. The default is Cal.com's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lists {
    /// `GET /v2/oauth-clients/{clientId}/users`.
    pub users: ListRoute,
    /// `GET /v2/organizations/{orgId}/users`.
    pub organization: ListRoute,
    /// What becomes of `emails` in a list of a client's users.
    pub emails: EmailFilter,
    /// Of a list of a client's users.
    pub max_limit: MaxLimit,
    /// An URL whose path and query have more bytes than this gets a 414 from a proxy in front, on every route, and
    /// costs no hit of the rate limit.
    pub max_url_bytes: Option<usize>,
}

/// Whether a list can be had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ListRoute {
    #[default]
    Served,
    /// 404 `Cannot GET …`, whoever asks.
    Missing,
    /// 403 for whoever has the right secret.
    Forbidden,
}

/// What a server makes of the parameter `emails`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum EmailFilter {
    #[default]
    Honoured,
    /// As if it were not there: the page is of all users.
    Ignored,
    /// 400, for a parameter that the server does not know.
    Refused,
}

/// What a server makes of a `limit` that is too large.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaxLimit {
    /// A larger one is a 400.
    Refuse(u32),
    /// A larger one is taken for this.
    Clamp(u32),
}

impl Default for MaxLimit {
    fn default() -> Self {
        Self::Refuse(250)
    }
}
