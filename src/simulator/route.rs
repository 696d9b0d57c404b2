//! Which of Cal.com's routes a request is for.

use axum::http::{HeaderMap, Method, header};

use super::counts::RouteKind;

/// A request's route, with what its path names as it is spelled there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route<'a> {
    Users { client: &'a str },
    User { client: &'a str, user: &'a str },
    OrganizationUsers { organization: &'a str },
    Unknown,
}

impl<'a> Route<'a> {
    /// The route of a path below `prefix`, and what the method makes of it.
    pub(super) fn of(method: &Method, path: &'a str, prefix: &str) -> (RouteKind, Self) {
        let Some(rest) = path
            .strip_prefix(prefix)
            .and_then(|path| path.strip_prefix("/v2/"))
        else {
            return (RouteKind::Unknown, Self::Unknown);
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let Some(rest) = rest.strip_prefix("oauth-clients/") else {
            let organization = rest
                .strip_prefix("organizations/")
                .and_then(|rest| rest.strip_suffix("/users"));
            return match organization {
                Some(organization)
                    if method == Method::GET && !organization.is_empty() && !organization.contains('/') =>
                {
                    (
                        RouteKind::ListOrganizationUsers,
                        Self::OrganizationUsers { organization },
                    )
                }
                _ => (RouteKind::Unknown, Self::Unknown),
            };
        };
        let mut segments = rest.split('/');
        let route = match (segments.next(), segments.next(), segments.next(), segments.next()) {
            (Some(client), Some("users"), None, None) if !client.is_empty() => Self::Users { client },
            (Some(client), Some("users"), Some(user), None) if !client.is_empty() && !user.is_empty() => {
                Self::User { client, user }
            }
            _ => Self::Unknown,
        };
        let kind = match (route, method.as_str()) {
            (Self::Users { .. }, "GET") => RouteKind::ListUsers,
            (Self::Users { .. }, "POST") => RouteKind::CreateUser,
            (Self::User { .. }, "GET") => RouteKind::GetUser,
            (Self::User { .. }, "PATCH") => RouteKind::UpdateUser,
            (Self::User { .. }, "DELETE") => RouteKind::DeleteUser,
            _ => return (RouteKind::Unknown, Self::Unknown),
        };
        (kind, route)
    }

    pub(super) fn client(&self) -> Option<&'a str> {
        match self {
            Self::Users { client } | Self::User { client, .. } => Some(client),
            Self::OrganizationUsers { .. } | Self::Unknown => None,
        }
    }

    /// The user's id, where the server would take it for a number.
    pub(super) fn user_id(&self) -> Option<i64> {
        match self {
            Self::User { user, .. } => {
                let digits = user.strip_prefix('-').unwrap_or(user);
                let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
                numeric.then(|| user.parse().ok()).flatten()
            }
            Self::Users { .. } | Self::OrganizationUsers { .. } | Self::Unknown => None,
        }
    }
}

/// Whether the caller holds this very answer, by the weak comparison.
pub(super) fn holds(headers: &HeaderMap, etag: &[u8]) -> bool {
    if !headers.contains_key(header::IF_NONE_MATCH) {
        return false;
    }
    let opaque = |tag: &str| tag.trim().trim_start_matches("W/").to_owned();
    let etag = opaque(&String::from_utf8_lossy(etag));
    headers
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|tag| tag.trim() == "*" || opaque(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_told_apart() {
        let of = |method: Method, path: &'static str| Route::of(&method, path, "/api");
        assert_eq!(
            of(Method::GET, "/api/v2/oauth-clients/clx0/users/7/"),
            (
                RouteKind::GetUser,
                Route::User {
                    client: "clx0",
                    user: "7"
                }
            )
        );
        assert_eq!(
            of(Method::POST, "/api/v2/oauth-clients/clx0/users"),
            (RouteKind::CreateUser, Route::Users { client: "clx0" })
        );
        assert_eq!(
            of(Method::GET, "/api/v2/organizations/7/users"),
            (
                RouteKind::ListOrganizationUsers,
                Route::OrganizationUsers { organization: "7" }
            )
        );
        for (method, path) in [
            (Method::POST, "/api/v2/organizations/7/users"),
            (Method::GET, "/api/v2/organizations/7/teams/users"),
            (Method::GET, "/api/v2/organizations//users"),
            (Method::GET, "/v2/oauth-clients/clx0/users/7"),
            (Method::PUT, "/api/v2/oauth-clients/clx0/users/7"),
            (Method::GET, "/api/v2/oauth-clients/clx0/users/7/x"),
            (Method::GET, "/api/v2/oauth-clients//users/7"),
            (Method::GET, "/api/v2/me"),
        ] {
            assert_eq!(of(method, path), (RouteKind::Unknown, Route::Unknown), "{path}");
        }
    }

    #[test]
    fn ids_are_numeric_strings() {
        let id = |user| Route::User { client: "c", user }.user_id();
        assert_eq!((id("7"), id("-7"), id("007")), (Some(7), Some(-7), Some(7)));
        assert_eq!((id("+7"), id("7x"), id("-"), id("1e3")), (None, None, None, None));
    }
}
