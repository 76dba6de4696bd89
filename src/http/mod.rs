//! HTTP, and axum only here: from a connection to a handler and back.
//!
//! Owns routing, the mapping of failures to answers, bodies and ranges, the access log and the accept loop. Must not
//! know what a manifest means or how anything is stored: handlers are thin layers over `Repos` and `Auth`.

mod answer;
mod caller;
pub mod control;
mod log;
mod metrics;
mod request;
mod server;
mod state;
mod surfaces;

pub use caller::credentials::{basic, challenge};
pub use caller::origin::{Caller, Peer};
pub use request::Query;
pub use server::{Listener, bind, serve};
pub use state::State;
pub use surfaces::route;
pub use surfaces::tree::{Claimed, Form, part_range, repr_digest, unchanged};

use crate::auth::{Action, Principal};
use crate::telemetry::cut;
use crate::types::RepoName;
use answer::Fail;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::{CONNECTION, EXPECT, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, Version};
use caller::credentials::{anonymous, authenticate, shown, who};
use futures_util::FutureExt as _;
use log::access::{Counted, Record, RequestId};
use request::{Incoming, Req, front};
use route::{Class, Route, RouteError};
use server::connections::Use;
use server::drain;
use server::limits::{Client, Place};
use server::sending::sendfile::Outbox;
use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use surfaces::oci::token;
use surfaces::{health, oci, tree};

/// How long a request waits for others of its client to end.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");

/// The service: one handler that splits paths itself, since repository names have any depth.
pub fn router(state: Arc<State>) -> axum::Router {
    axum::Router::new().fallback(entry).with_state(state)
}

/// Every request goes through here: id, route, caller, credentials, handler, refusal, headers, log.
async fn entry(Extract(state): Extract<Arc<State>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let config = state.app.config.load_full();
    let peer = head.extensions.get::<Peer>().copied().unwrap_or(NOBODY);
    let id = state.ids.next();
    let route = route::parse(head.uri.path());
    let caller = Caller::of(
        peer,
        &head.headers,
        &head.uri,
        &config.trusted_proxies,
        config.proxy_header,
    );
    let mut record = record(&state, id, &head, &route, caller.ip);
    let front = front::check(peer, &head, &caller);
    let expects = head.headers.contains_key(EXPECT);
    let version = head.version;
    let protocol = matches!(&route, Ok(Route::Oci(_)) | Err(_));
    let tree = matches!(&route, Ok(Route::Tree(_)));
    let mut body = Incoming::new(body, Duration::from_secs(config.progress_seconds.max(1)));
    let mut req = Req {
        query: Query::default(),
        state,
        config,
        method: head.method,
        headers: head.headers,
        caller,
        grant: anonymous(),
        place: None,
        used: record.used.clone(),
        asks_password: tree,
        file: None,
        outbox: head.extensions.get::<Outbox>().cloned(),
    };
    let query = head.uri.query().unwrap_or_default();
    let result = match front {
        Ok(()) => AssertUnwindSafe(handle(&mut req, query, route, peer, &mut body))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(&req, &*panic))),
        Err(fail) => Err(fail),
    };
    if req.grant.principal != crate::auth::Principal::Anonymous {
        record.who = who(&req.grant.principal);
    }
    record.place = req.place.take();
    record.file = req.file.take();
    record.bytes_in = body.bytes();
    let mut response = result.unwrap_or_else(|fail| {
        if tree {
            fail.into_text(&id.to_string())
        } else {
            fail.into_response(&id.to_string())
        }
    });
    finish(&mut response, id, protocol);
    if drain::drain(body, expects).await && version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = response.status().as_u16();
    if let Some(used) = &record.used {
        used.answered();
    }
    response.map(|body| Counted::wrap(body, record))
}

/// What is known of a request before anything is done for it.
fn record(
    state: &Arc<State>,
    id: RequestId,
    head: &Parts,
    route: &Result<Route, RouteError>,
    ip: IpAddr,
) -> Record {
    Record {
        state: Arc::clone(state),
        used: head.extensions.get::<Arc<Use>>().cloned(),
        place: None,
        file: None,
        id,
        start: Instant::now(),
        method: method(&head.method),
        path: cut(head.uri.path()),
        class: route.as_ref().map_or(Class::Other, Route::class),
        action: action(route, &head.method).name(),
        who: "-".to_owned(),
        ip,
        status: 0,
        bytes_in: 0,
        bytes_out: 0,
    }
}

/// A method for the log.
fn method(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET => Cow::Borrowed("GET"),
        Method::HEAD => Cow::Borrowed("HEAD"),
        Method::POST => Cow::Borrowed("POST"),
        Method::PATCH => Cow::Borrowed("PATCH"),
        Method::PUT => Cow::Borrowed("PUT"),
        Method::DELETE => Cow::Borrowed("DELETE"),
        _ => Cow::Owned(cut(method.as_str())),
    }
}

/// A peer that no listener vouches for: never loopback.
const NOBODY: Peer = Peer {
    addr: std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0),
    tls: false,
    astray: false,
};

fn action(route: &Result<Route, RouteError>, method: &Method) -> crate::auth::Action {
    match route {
        Ok(Route::Oci(route)) => oci::action(route, method),
        Ok(Route::Tree(_)) => tree::action(method),
        Ok(other) => health::action(other),
        Err(_) => crate::auth::Action::Ping,
    }
}

async fn handle(
    req: &mut Req,
    query: &str,
    route: Result<Route, RouteError>,
    peer: Peer,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    if let Ok(route) = &route
        && health::is_open(route)
    {
        return health::answer(req, route, peer).await;
    }
    let first = at_first(req);
    req.place = place(req, &first).await?;
    let for_token = matches!(route, Ok(Route::Oci(route::OciRoute::Auth)));
    req.query = Query::parse(query).map_err(|e| {
        if for_token {
            return token::too_many(e);
        }
        Fail::new(StatusCode::URI_TOO_LONG, "UNSUPPORTED", e.to_string())
    })?;
    if !for_token {
        let scope = match &route {
            Ok(Route::Oci(route)) => Some(oci::challenge_scope(route, &req.method)),
            Ok(Route::Tree(_)) => None,
            _ => Some(String::new()),
        };
        let (auth, scope) = (&req.state.app.auth, scope.as_deref());
        req.grant = authenticate(auth, &req.headers, &req.caller, &req.config, scope).await?;
        // No scope: it was a password.
        if let (Principal::User(user), None) = (&req.grant.principal, &req.grant.scope) {
            req.state.app.after_login(user.as_str());
        }
        let client = req.client();
        if client != first {
            req.place = place(req, &client).await?;
        }
    }
    match route.map_err(|error| malformed(error, &req.method))? {
        Route::Oci(route) => {
            let action = oci::action(&route, &req.method);
            let opens = oci::opens_a_file(&route, &req.method);
            let name = route.name().cloned();
            admit(req, (action, name.as_ref()), opens, body).await?;
            let done = oci::answer(req, route, body).await;
            ended(req, (action, name.as_ref()), body, done)
        }
        Route::Tree(route) => {
            let found = tree::find(req, route).await?;
            let action = tree::action(&req.method);
            let (name, opens) = (Some(&found.tree.name), tree::opens_a_file(&req.method));
            admit(req, (action, name), opens, body).await?;
            let done = tree::answer(req, &found, body).await;
            ended(req, (action, name), body, done)
        }
        other => health::answer(req, &other, peer).await,
    }
}

/// Before a request that is about a repository is answered: a body that brings content ends with the right to bring it, and who
/// may open a file has leave for it.
async fn admit(
    req: &mut Req,
    (action, name): (Action, Option<&RepoName>),
    opens_a_file: bool,
    body: &mut Incoming,
) -> Result<(), Fail> {
    let brings = matches!(action, Action::RepoPush | Action::TagWrite) && !body.ended();
    if let Some(name) = name.filter(|_| brings) {
        let auth = &req.state.app.auth;
        body.hold_to(auth.standing(&req.grant, action, name).await?);
    }
    if let Some(used) = req.used.as_ref().filter(|_| opens_a_file) {
        req.file = Some(req.state.files.leave(used, PATIENCE).await?);
    }
    Ok(())
}

/// After it: who lost the right to bring a body is told so.
fn ended(
    req: &Req,
    (action, name): (Action, Option<&RepoName>),
    body: &Incoming,
    done: Result<Response<Body>, Fail>,
) -> Result<Response<Body>, Fail> {
    match (body.lost(), name) {
        (Some(lost), Some(name)) if done.is_err() => Err(req.lost(lost, action, name)),
        _ => done,
    }
}

/// Whom a request counts for until its credentials are checked.
fn at_first(req: &Req) -> Client {
    match req.client() {
        Client::Address(address) if shown(&req.headers).is_some() => Client::Login(address),
        client => client,
    }
}

/// A place among the requests of a client; who comes through a gate is counted by account only.
async fn place(req: &Req, client: &Client) -> Result<Option<Place>, Fail> {
    if req.caller.gate && !matches!(client, Client::Account(_)) {
        return Ok(None);
    }
    let to_do = "try again when some are done, or ask its administrator to raise limits.requests";
    let taken = req
        .state
        .requests
        .take(client, PATIENCE, ("requests", to_do));
    taken.await.map(Some)
}

/// A path that names nothing. Who only reads a tag that cannot be is told that it is not there.
fn malformed(error: RouteError, method: &Method) -> Fail {
    let reading = matches!(*method, Method::GET | Method::HEAD);
    let tag = matches!(error, RouteError::Tag(_));
    let mut fail = Fail::from(error);
    if reading && tag {
        fail.status = axum::http::StatusCode::NOT_FOUND;
        fail.code = "MANIFEST_UNKNOWN";
    }
    fail
}

fn panicked(req: &Req, panic: &(dyn std::any::Any + Send)) -> Fail {
    req.state.metrics.panics.fetch_add(1, Ordering::Relaxed);
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no text");
    Fail::internal(format!("the handler panicked: {text}"))
}

/// Headers that every answer has.
fn finish(response: &mut Response<Body>, id: RequestId, protocol: bool) {
    let headers: &mut HeaderMap = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if protocol {
        headers.insert(API_VERSION, HeaderValue::from_static("registry/2.0"));
    }
}
