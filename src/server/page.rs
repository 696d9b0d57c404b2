//! The status page, what keeps it live, and the JSON behind it. It reads, and asks the database for little and not often.

mod assets;
mod changes;
mod client;
mod document;
mod events;
mod home;
mod moment;
mod overview;
mod plot;
mod user;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use axum::{
    Extension, Json, Router,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{Html, IntoResponse, Redirect, Response},
    routing::get,
};
use chrono::{DateTime, Utc};
use maud::Markup;
use serde::Deserialize;

use self::{events::Streams, overview::Latest, user::Asked};
use super::Context;
use crate::{
    calcom::Source as _,
    compare::Values,
    model::UserId,
    store::{Error, Past, PastWanted},
    sync::Snapshot,
};

/// Versions of a user that one page has.
const VERSIONS: u32 = 200;

/// The page's routes.
pub(super) fn routes() -> Router<Context> {
    Router::new()
        .route("/", get(home))
        .route("/users", get(find))
        .route("/users/{id}", get(user))
        .route("/events", get(events::events))
        .route("/assets/{name}", get(assets::asset))
        .route("/api/v1/overview", get(overview_json))
        .route("/api/v1/users/{id}", get(user_json))
        .layer(Extension(Arc::new(Latest::default())))
        .layer(Extension(Streams::default()))
}

impl Context {
    /// Whether the pages show the values of personal fields.
    fn values(&self) -> Values {
        if self.view.borrow().config.server.show_values {
            Values::Full
        } else {
            Values::Masked
        }
    }

    /// How far the passes of this process have come, by client.
    fn under_way(&self) -> BTreeMap<String, Snapshot> {
        for client in &self.view.borrow().clients {
            self.live.asked(&client.client.name, client.source.requests());
        }
        self.live.under_way()
    }

    /// What the configuration calls a client; its id if it has it no more.
    fn name_of(&self, client_id: &str) -> String {
        let view = self.view.borrow();
        let known = view
            .clients
            .iter()
            .find(|known| known.client.id.as_str() == client_id);
        known.map_or_else(|| client_id.to_owned(), |known| known.client.name.clone())
    }
}

async fn home(State(context): State<Context>, Extension(latest): Extension<Arc<Latest>>) -> Response {
    match overview::read(&context, &latest).await {
        Ok(overview) => page(StatusCode::OK, home::page(&overview)),
        Err(error) => page(StatusCode::SERVICE_UNAVAILABLE, home::without_database(&error)),
    }
}

async fn overview_json(
    State(context): State<Context>,
    Extension(latest): Extension<Arc<Latest>>,
) -> Response {
    match overview::read(&context, &latest).await {
        Ok(overview) => Json(overview).into_response(),
        Err(error) => fault(StatusCode::SERVICE_UNAVAILABLE, &error),
    }
}

/// What the form that looks for a user asks for.
#[derive(Debug, Deserialize)]
struct Sought {
    id: String,
}

async fn find(Query(sought): Query<Sought>) -> Response {
    match sought.id.trim().parse::<i64>() {
        Ok(id) => Redirect::to(&format!("/users/{id}")).into_response(),
        Err(_) => page(
            StatusCode::BAD_REQUEST,
            document::message("No such user", "A user's id is a whole number, such as 1002."),
        ),
    }
}

/// Which part of a user's past is asked for.
#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// An instant.
    at: Option<String>,
    /// A version.
    before: Option<String>,
}

/// Why there is no past to show.
enum NoPast {
    Asked(&'static str),
    NoInstant,
    Forgotten(DateTime<Utc>),
    Never,
    Database(Error),
}

/// A user's past, and what of it was asked for.
async fn past(context: &Context, user: &str, wanted: &Wanted) -> Result<(UserId, Past, Asked), NoPast> {
    let user = user.parse().map(UserId);
    let user = user.map_err(|_| NoPast::Asked("A user's id is a whole number, such as 1002."))?;
    let at = match wanted.at.as_deref() {
        None | Some("") => None,
        Some(text) => Some(moment::instant(text).ok_or(NoPast::NoInstant)?),
    };
    let before = wanted.before.as_deref().map(str::parse).transpose();
    let before = before.map_err(|_| NoPast::Asked("A version is a whole number."))?;
    let store = context.view.borrow().store.clone();
    let wanted = PastWanted {
        at,
        before,
        limit: VERSIONS,
    };
    let past = store.past(user, wanted).await.map_err(NoPast::Database)?;
    if past.newest.is_some() {
        return Ok((user, past, Asked { at, before }));
    }
    match store.forgotten_at(user).await {
        Ok(Some(at)) => Err(NoPast::Forgotten(at)),
        Ok(None) => Err(NoPast::Never),
        Err(error) => Err(NoPast::Database(error)),
    }
}

impl NoPast {
    fn status(&self) -> StatusCode {
        match self {
            Self::Asked(_) | Self::NoInstant => StatusCode::BAD_REQUEST,
            Self::Forgotten(_) => StatusCode::GONE,
            Self::Never => StatusCode::NOT_FOUND,
            Self::Database(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    fn message(&self) -> String {
        match self {
            Self::Asked(why) => (*why).to_owned(),
            Self::NoInstant => format!("That is no instant. {}", moment::FORMS),
            Self::Forgotten(at) => format!(
                "The user is forgotten since {}, and nothing else is kept of it.",
                moment::absolute_whole(*at)
            ),
            Self::Never => "The user was never mirrored.".to_owned(),
            Self::Database(error) => error.to_string(),
        }
    }
}

async fn user(
    State(context): State<Context>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    match past(&context, &id, &wanted).await {
        Ok((id, past, asked)) => {
            let client = past
                .versions
                .first()
                .map(|version| context.name_of(&version.client_id));
            page(
                StatusCode::OK,
                user::page(id, client.as_deref(), &past, asked, context.values()),
            )
        }
        Err(no) => page(no.status(), document::message("No history", &no.message())),
    }
}

async fn user_json(
    State(context): State<Context>,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Response {
    match past(&context, &id, &wanted).await {
        Ok((id, past, _)) => Json(user::json(id, &past, context.values())).into_response(),
        Err(no) => fault(no.status(), &no.message()),
    }
}

fn page(status: StatusCode, markup: Markup) -> Response {
    (status, Html(markup.into_string())).into_response()
}

fn fault(status: StatusCode, message: &str) -> Response {
    (status, Json(serde_json::json!({ "error": message }))).into_response()
}
