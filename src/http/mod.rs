//! HTTP, and axum only here: from a connection to a handler and back.
//!
//! Owns the one entry of every request: id, caller, surface, headers, log line. Must not know what a path or a manifest means,
//! or how anything is stored: surfaces are thin layers over `Repos` and `Auth`.

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
pub use surfaces::oci::{OciRoute, RouteError};
pub use surfaces::tree::{ClaimedDigests, PageForm, TreeRoute, part_range, repr_digest, unchanged};

use crate::auth::Principal;
use crate::telemetry::cut;
use answer::Fail;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::header::{CONNECTION, EXPECT, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, Version};
use caller::credentials::{anonymous, who};
use futures_util::FutureExt as _;
use log::access::{AccessRecord, CountedBody, RequestId};
use request::{Incoming, Req, front};
use server::connections::Use;
use server::drain;
use server::sending::sendfile::Outbox;
use std::borrow::Cow;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use surfaces::Route;

/// How long a request waits for others of its client to end.
const PATIENCE: Duration = Duration::from_secs(10);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The service: one handler that splits paths itself, since repository names have any depth.
pub fn router(state: Arc<State>) -> axum::Router {
    axum::Router::new().fallback(entry).with_state(state)
}

/// Every request goes through here: id, caller, surface, refusal, headers, log.
async fn entry(Extract(state): Extract<Arc<State>>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let config = state.app.config.load_full();
    let peer = head.extensions.get::<Peer>().copied().unwrap_or(NOBODY);
    let id = state.ids.next();
    let route = Route::parse(head.uri.path());
    let manner = route.manner();
    let (trusted, header) = (&config.trusted_proxies, config.proxy_header);
    let caller = Caller::of(peer, &head.headers, &head.uri, trusted, header);
    let mut record = record(&state, id, &head, &route, caller.ip);
    let front = front::check(peer, &head, &caller);
    let expects = head.headers.contains_key(EXPECT);
    let version = head.version;
    let mut body = Incoming::new(
        body,
        Duration::from_secs(config.serve.progress_seconds.max(1)),
    );
    let mut req = Req {
        id,
        query: Query::default(),
        state,
        config,
        start: record.start,
        method: head.method,
        uri: head.uri.clone(),
        headers: head.headers,
        peer,
        caller,
        grant: anonymous(),
        challenge: manner.challenge,
        place: None,
        used: record.used.clone(),
        file: None,
        outbox: head.extensions.get::<Outbox>().cloned(),
        sent: OnceLock::new(),
    };
    let query = head.uri.query().unwrap_or_default();
    let result = match front {
        Ok(()) => AssertUnwindSafe(route.serve(&mut req, query, &mut body))
            .catch_unwind()
            .await
            .unwrap_or_else(|panic| Err(panicked(&req, &*panic))),
        Err(fail) => Err(fail),
    };
    if req.grant.principal != Principal::Anonymous {
        record.who = who(&req.grant.principal);
    }
    record.place = req.place.take();
    record.file = req.file.take();
    record.bytes_in = body.bytes();
    let mut response = result.unwrap_or_else(|fail| (manner.refuse)(fail, id));
    finish(&mut response, id);
    (manner.mark)(response.headers_mut());
    if drain::drain(body, expects).await && version < Version::HTTP_2 {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.status = response.status().as_u16();
    if let Some(used) = &record.used {
        used.answered();
    }
    response.map(|body| CountedBody::wrap(body, record))
}

/// What is known of a request before anything is done for it.
fn record(
    state: &Arc<State>,
    id: RequestId,
    head: &Parts,
    route: &Route,
    ip: IpAddr,
) -> AccessRecord {
    AccessRecord {
        state: Arc::clone(state),
        used: head.extensions.get::<Arc<Use>>().cloned(),
        place: None,
        file: None,
        id,
        start: Instant::now(),
        method: method(&head.method),
        path: cut(head.uri.path()),
        class: route.class(),
        action: route.action(&head.method).name(),
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
fn finish(response: &mut Response<Body>, id: RequestId) {
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert(REQUEST_ID, value);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}
