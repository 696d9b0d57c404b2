//! How a request is answered: counted, throttled, let in, read, served, in the order of Cal.com's server.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts},
    response::Response,
};
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::{Map, Value};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{
    answers::{self, Asked, Delivery, Log, Sent},
    body,
    connection::Caller,
    counts::{Counter, RouteKind},
    email,
    faults::{Answer, FaultBox, Seen},
    input::{self, Page},
    record::{self, Record, User},
    refusal::Refusal,
    response::{Reply, finish, refuse, respond, send},
    route::{self, Route},
    throttle::{Throttle, Tracker, Verdict},
    world::{Client, Moment, World},
};
use crate::clock::SharedClock;

/// What every request shares.
#[derive(Debug)]
pub(super) struct Service {
    pub(super) world: World,
    pub(super) throttle: Throttle,
    pub(super) faults: FaultBox,
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
        let latency = self.faults.now().latency;
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let verdict = self.throttle.hit(tracker(&parts.headers, caller), moment.millis);
        if verdict.is_some_and(|verdict| verdict.blocked) {
            self.counter.update(|counts| counts.throttled += 1);
            return finish(refuse(&Refusal::TooManyRequests, now, path), verdict);
        }
        let seen = Seen {
            kind,
            client: route.client(),
            user: route.user_id(),
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
            Route::Unknown => Err(Refusal::NoRoute {
                method: parts.method.to_string(),
                path: path.to_owned(),
            }),
            Route::Users { client } | Route::User { client, .. } => {
                self.admit(client, &parts.headers).and_then(|client| match kind {
                    RouteKind::ListUsers => list(&client, &Page::of(&parts.uri, &client.id)?, moment),
                    RouteKind::CreateUser => self.create(&client, &body?, now, moment),
                    RouteKind::UpdateUser => self.update(&client, user_id(route)?, &body?, moment),
                    RouteKind::DeleteUser => self.delete(&client, user_id(route)?, moment),
                    RouteKind::GetUser | RouteKind::Unknown => {
                        Ok(Reply::user(&*client.get(user_id(route)?, moment)?))
                    }
                })
            }
        };
        let reads = matches!(kind, RouteKind::GetUser | RouteKind::ListUsers);
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

    fn create(
        &self,
        client: &Client,
        body: &[u8],
        now: DateTime<Utc>,
        moment: Moment,
    ) -> Result<Reply, Refusal> {
        const ACCESS: TimeDelta = TimeDelta::minutes(60);
        const REFRESH: TimeDelta = TimeDelta::days(365);
        let (id, record) = self.insert(client, parse(body)?, now, moment)?;
        let user = record.json();
        // Nobody uses the tokens; they have the shape of those that the server signs.
        let token = |kind: &str| format!("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.{kind}{id}.simulated");
        let mut body = br#"{"status":"success","data":{"user":"#.to_vec();
        body.extend_from_slice(&user);
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
    ) -> Result<(i64, Arc<Record>), Refusal> {
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
        Ok((id, client.insert(id, Record::of(&user), moment, lag)?))
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

    /// The faulty response, or `None` where the true one follows.
    async fn misbehave(
        &self,
        fault: Answer,
        caller: &Caller,
        now: DateTime<Utc>,
        path: &str,
        verdict: Option<Verdict>,
    ) -> Option<Response> {
        let marked = |body, delivery, sent| {
            let mut response = Response::new(body);
            response.extensions_mut().insert(Sent { delivery, body: sent });
            response
        };
        let json = |body, delivery, sent| {
            let mut response = marked(body, delivery, sent);
            let json = HeaderValue::from_static("application/json; charset=utf-8");
            response.headers_mut().insert(header::CONTENT_TYPE, json);
            response
        };
        Some(match fault {
            Answer::Respond {
                status,
                headers,
                body,
            } => respond(status, headers, body),
            Answer::Refuse(refusal) => finish(refuse(&refusal, now, path), verdict),
            Answer::CutShort { declared_bytes, sent } => {
                let mut response = json(body::cut_short(sent.clone()), Delivery::Cut, sent);
                response
                    .headers_mut()
                    .insert(header::CONTENT_LENGTH, HeaderValue::from(declared_bytes));
                response
            }
            Answer::Endless => json(
                body::endless(self.closing.clone()),
                Delivery::Endless,
                Bytes::new(),
            ),
            Answer::Drip { body, pause } => {
                let drops = body::drip(body.clone(), pause, self.closing.clone());
                json(drops, Delivery::Drip, body)
            }
            Answer::GzipBomb { inflated_bytes } => {
                let mut response = json(body::gzip_bomb(inflated_bytes), Delivery::Bomb, Bytes::new());
                response
                    .headers_mut()
                    .insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                response
            }
            Answer::Close => {
                caller.cut.cancel();
                marked(Body::empty(), Delivery::Closed, Bytes::new())
            }
            Answer::Hang => {
                self.hang().await;
                return None;
            }
        })
    }

    async fn hang(&self) {
        /// Counts down also when the caller leaves, which drops the future.
        struct Hanging<'a>(&'a Counter);
        impl Drop for Hanging<'_> {
            fn drop(&mut self) {
                self.0.update(|counts| counts.hanging -= 1);
            }
        }
        // Subscribed first: whoever sees the count can release at once.
        let mut released = self.released.subscribe();
        self.counter.update(|counts| counts.hanging += 1);
        let _hanging = Hanging(&self.counter);
        tokio::select! {
            () = self.closing.cancelled() => {}
            changed = released.changed() => changed.expect("the sender lives as long as the service"),
        }
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

fn list(client: &Client, page: &Page, moment: Moment) -> Result<Reply, Refusal> {
    let records = client.page(page.emails.as_deref(), page.offset, page.limit, moment);
    let (body, etag) = record::list(&records);
    Ok(Reply::Json {
        status: StatusCode::OK,
        body,
        etag: Some(etag),
    })
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
