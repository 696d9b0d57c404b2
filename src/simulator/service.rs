//! How a request is answered: counted, throttled, let in, read, served, in the order of Cal.com's server.

mod misbehaviour;

use std::{
    convert::Infallible,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, StatusCode, request::Parts},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{self, Asked, Log},
    connection::Caller,
    counts::{Counter, RouteKind},
    email,
    faults::{FaultBox, Seen},
    input::{self, OrganizationPage, Page},
    lists::{ListRoute, Lists},
    record::{self, Record, User},
    refusal::Refusal,
    response::{self, Reply, finish, refuse, send},
    route::{self, Route},
    throttle::{Throttle, Tracker},
    world::{Client, Moment, World},
};
use crate::clock::SharedClock;

/// What every request shares.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) world: World,
    pub(super) throttle: Throttle,
    pub(super) faults: FaultBox,
    pub(super) lists: RwLock<Lists>,
    pub(super) counter: Counter,
    pub(super) answers: Log,
    pub(super) clock: SharedClock,
    /// In front of `/v2`; without a slash at its end.
    pub(super) prefix: String,
    /// Counts the releases of hanging requests.
    pub(super) released: watch::Sender<u64>,
    pub(super) closing: CancellationToken,
}

pub(super) async fn answer(
    State(service): State<Arc<Service>>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    request: Request,
) -> Result<Response, Infallible> {
    Ok(service.answer(&caller, request).await)
}

impl Service {
    async fn answer(&self, caller: &Caller, request: Request) -> Response {
        let (parts, request_body) = request.into_parts();
        let path = parts.uri.path();
        if !self.answers.is_kept() {
            let (kind, route) = Route::of(&parts.method, path, &self.prefix);
            return self.respond(caller, &parts, request_body, kind, route).await;
        }
        let (tag, (kind, route)) = match answers::tag(path, &self.prefix) {
            Some((tag, path)) => (Some(tag), Route::of(&parts.method, path, "")),
            None => (None, Route::of(&parts.method, path, &self.prefix)),
        };
        let asked = Asked {
            tag,
            kind,
            client: route.client(),
            user: route.user_id(),
        };
        let response = self.respond(caller, &parts, request_body, kind, route).await;
        self.answers.note(asked, response).await
    }

    async fn respond(
        &self,
        caller: &Caller,
        parts: &Parts,
        request_body: Body,
        kind: RouteKind,
        route: Route<'_>,
    ) -> Response {
        let now = self.clock.now();
        let moment = Moment {
            millis: now.timestamp_millis(),
            requests: self.counter.update(|counts| counts.add(kind)),
        };
        let lists = self.lists();
        let latency = self.faults.now().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if lists.max_url_bytes.is_some_and(|max| path.len() > max) {
            return response::url_too_long();
        }
        let verdict = self.throttle.hit(tracker(&parts.headers, caller), moment.millis);
        if verdict.is_some_and(|verdict| verdict.blocked) {
            self.counter.update(|counts| counts.throttled += 1);
            return finish(refuse(&Refusal::TooManyRequests, now, path), verdict);
        }
        let seen = Seen {
            kind,
            client: route.client(),
            user: route.user_id(),
            query: parts.uri.query(),
        };
        if let Some(fault) = self.faults.meet(seen) {
            self.counter.update(|counts| counts.faulted += 1);
            if let Some(response) = self.misbehave(fault, caller, now, path, verdict).await {
                return response;
            }
        }
        let body = match kind {
            RouteKind::CreateUser | RouteKind::UpdateUser => read(request_body).await,
            _ => Ok(Bytes::new()),
        };
        let reply = match route {
            _ if is_missing(kind, &lists) => Err(no_route(parts)),
            Route::Unknown => Err(no_route(parts)),
            Route::OrganizationUsers { organization } => {
                self.list_organization(organization, parts, lists.organization, moment)
            }
            Route::Users { client } | Route::User { client, .. } => {
                self.admit(client, &parts.headers).and_then(|client| match kind {
                    RouteKind::ListUsers => list(&client, parts, &lists, moment),
                    RouteKind::CreateUser => self.create(&client, &body?, now, moment),
                    RouteKind::UpdateUser => self.update(&client, user_id(route)?, &body?, moment),
                    RouteKind::DeleteUser => self.delete(&client, user_id(route)?, moment),
                    RouteKind::GetUser | RouteKind::ListOrganizationUsers | RouteKind::Unknown => {
                        Ok(Reply::user(&*client.get(user_id(route)?, moment)?))
                    }
                })
            }
        };
        let reads = matches!(
            kind,
            RouteKind::GetUser | RouteKind::ListUsers | RouteKind::ListOrganizationUsers
        );
        let response = match reply {
            Ok(Reply::Json { etag: Some(etag), .. })
                if reads && route::holds(&parts.headers, etag.as_bytes()) =>
            {
                send(Reply::Unchanged(etag))
            }
            Ok(reply) => send(reply),
            Err(refusal) => refuse(&refusal, now, path),
        };
        finish(response, verdict)
    }

    fn admit(&self, client: &str, headers: &HeaderMap) -> Result<Arc<Client>, Refusal> {
        let secret = headers.get("x-cal-secret-key").ok_or(Refusal::NoSecret)?;
        let client = self.world.client(client)?;
        client.admit(secret.to_str().map_err(|_| Refusal::WrongSecret)?)?;
        Ok(client)
    }

    pub(super) fn lists(&self) -> Lists {
        *self.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn list_organization(
        &self,
        organization: &str,
        parts: &Parts,
        route: ListRoute,
        moment: Moment,
    ) -> Result<Reply, Refusal> {
        let client = parts
            .headers
            .get("x-cal-client-id")
            .and_then(|id| id.to_str().ok());
        match (client, parts.headers.contains_key("x-cal-secret-key")) {
            (Some(client), _) => self.admit(client, &parts.headers)?,
            (None, true) => return Err(Refusal::NoClientId),
            (None, false) => return Err(Refusal::NoCredentials),
        };
        let own = &self.world.organization;
        match organization.parse() {
            _ if route == ListRoute::Forbidden => return Err(Refusal::ForbiddenResource),
            Ok::<i64, _>(id) if id == own.id => {}
            Ok(_) => return Err(Refusal::NotAMember(organization.to_owned())),
            Err(_) => return Err(Refusal::ForbiddenResource),
        }
        let page = OrganizationPage::of(&parts.uri)?;
        let records = self
            .world
            .organization_page(page.emails.as_deref(), page.skip, page.take, moment);
        Ok(Reply::list(record::list(&records, |record, body| {
            own.write(record, body);
        })))
    }

    fn create(
        &self,
        client: &Client,
        body: &[u8],
        now: DateTime<Utc>,
        moment: Moment,
    ) -> Result<Reply, Refusal> {
        const ACCESS: TimeDelta = TimeDelta::minutes(60);
        const REFRESH: TimeDelta = TimeDelta::days(365);
        let record = self.insert(client, parse(body)?, now, moment)?;
        let id = record.id();
        // Nobody uses the tokens; they have the shape of those that the server signs.
        let token = |kind: &str| format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{kind}{id}.simulated");
        let mut body = br#"{"status":"success","data":{"user":"#.to_vec();
        body.extend_from_slice(record.json());
        body.extend_from_slice(
            format!(
                r#","accessToken":"{}","accessTokenExpiresAt":{},"refreshToken":"{}","refreshTokenExpiresAt":{}}}}}"#,
                token("access"),
                (now + ACCESS).timestamp_millis(),
                token("refresh"),
                (now + REFRESH).timestamp_millis(),
            )
            .as_bytes(),
        );
        Ok(Reply::Json {
            status: StatusCode::CREATED,
            body: body.into(),
            etag: None,
        })
    }

    /// Makes a user of what a POST may hold.
    pub(super) fn insert(
        &self,
        client: &Client,
        body: Value,
        now: DateTime<Utc>,
        moment: Moment,
    ) -> Result<Arc<Record>, Refusal> {
        let fields = input::fields(body, true, &client.id)?;
        let text = |key: &str| fields.get(key).and_then(Value::as_str).map(str::to_owned);
        let id = self.world.next_id();
        let email = text("email").expect("a body without an email is refused");
        let user = User {
            id,
            username: Some(email::username(&email)),
            email,
            name: text("name"),
            bio: text("bio"),
            // A schedule comes with a time zone only.
            default_schedule_id: text("timeZone").map(|_| id * 2),
            time_zone: text("timeZone").unwrap_or_else(|| "Europe/London".to_owned()),
            week_start: text("weekStart").unwrap_or_else(|| "Sunday".to_owned()),
            created_date: now.to_rfc3339_opts(SecondsFormat::Millis, true),
            time_format: Some(if fields.get("timeFormat").and_then(Value::as_i64) == Some(24) {
                24
            } else {
                12
            }),
            locale: text("locale"),
            avatar_url: text("avatarUrl"),
            metadata: fields
                .get("metadata")
                .filter(|metadata| !metadata.is_null())
                .cloned(),
        };
        let lag = self.faults.now().read_lag;
        client.insert(Record::of(&user), moment, lag)
    }

    fn update(&self, client: &Client, id: i64, body: &[u8], moment: Moment) -> Result<Reply, Refusal> {
        // Whose user it is comes before what the body says, as with the server.
        client.primary(id).ok_or(Refusal::NotOurUser(id))?;
        let fields = input::fields(parse(body)?, false, &client.id)?;
        Ok(Reply::user(&*self.patch(client, id, &fields, moment)?))
    }

    pub(super) fn patch(
        &self,
        client: &Client,
        id: i64,
        fields: &Map<String, Value>,
        moment: Moment,
    ) -> Result<Arc<Record>, Refusal> {
        let lag = self.faults.now().read_lag;
        client.update(id, moment, lag, |before| before.patched(fields))
    }

    fn delete(&self, client: &Client, id: i64, moment: Moment) -> Result<Reply, Refusal> {
        let lag = self.faults.now().read_lag;
        Ok(Reply::user(&*client.delete(id, moment, lag)?))
    }
}

fn tracker(headers: &HeaderMap, caller: &Caller) -> Tracker {
    match headers.get("x-cal-client-id").and_then(|id| id.to_str().ok()) {
        Some(id) if !id.is_empty() => Tracker::Client(id.to_owned()),
        _ => Tracker::Ip(caller.peer.ip()),
    }
}

fn user_id(route: Route<'_>) -> Result<i64, Refusal> {
    route.user_id().ok_or(Refusal::NotNumeric)
}

/// Whether another server would not know the route.
fn is_missing(kind: RouteKind, lists: &Lists) -> bool {
    match kind {
        RouteKind::ListUsers => lists.users == ListRoute::Missing,
        RouteKind::ListOrganizationUsers => lists.organization == ListRoute::Missing,
        _ => false,
    }
}

fn no_route(parts: &Parts) -> Refusal {
    let path = parts.uri.path_and_query();
    Refusal::NoRoute {
        method: parts.method.to_string(),
        path: path.map_or("/", |path| path.as_str()).to_owned(),
    }
}

fn list(client: &Client, parts: &Parts, lists: &Lists, moment: Moment) -> Result<Reply, Refusal> {
    if lists.users == ListRoute::Forbidden {
        return Err(Refusal::ForbiddenResource);
    }
    let page = Page::of(&parts.uri, &client.id, lists)?;
    let records = client.page(page.emails.as_deref(), page.offset, page.limit, moment);
    Ok(Reply::list(record::list(&records, |record, body| {
        body.extend_from_slice(record.json());
    })))
}

async fn read(body: Body) -> Result<Bytes, Refusal> {
    /// Express's own limit.
    const MAX_BYTES: usize = 100 * 1024;
    axum::body::to_bytes(body, MAX_BYTES)
        .await
        .map_err(|_| Refusal::BodyTooLarge)
}

fn parse(body: &[u8]) -> Result<Value, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::UnreadableBody(error.to_string()))
}
