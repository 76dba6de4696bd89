//! Whether this server runs, whether it is ready, and its metrics.
//!
//! Owns who may read the metrics. Must not look at the store: `app` says whether it can be read.

use super::{ChallengeKind, Credentials, Surface};
use crate::auth::{Action, Principal, Resource};
use crate::http::answer::Fail;
use crate::http::answer::body::{put, text};
use crate::http::caller::origin::was_forwarded;
use crate::http::log::access::RequestId;
use crate::http::metrics::RequestClass;
use crate::http::request::{Incoming, Req};
use crate::repo::Readiness;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{Method, Response, StatusCode};

/// A path of this surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// `/healthz`, `/livez`: the process runs.
    Live,
    /// `/readyz`: the store can be read.
    Ready,
    /// `/metrics`.
    Metrics,
}

impl Surface for Health {
    const CHALLENGE: ChallengeKind = ChallengeKind::Token;
    type Found = Self;

    fn parse(path: &str) -> Option<Self> {
        match path {
            "/healthz" | "/livez" => Some(Self::Live),
            "/readyz" => Some(Self::Ready),
            "/metrics" => Some(Self::Metrics),
            _ => None,
        }
    }

    fn class(&self) -> RequestClass {
        RequestClass::Other
    }

    fn action(&self, _: &Method) -> Action {
        match self {
            Self::Metrics => Action::Metrics,
            Self::Live | Self::Ready => Action::Health,
        }
    }

    fn credentials(&self) -> Credentials {
        match self {
            Self::Metrics => Credentials::Checked,
            Self::Live | Self::Ready => Credentials::Ignored,
        }
    }

    async fn resolve(self, _: &Req) -> Result<Self, Fail> {
        Ok(self)
    }

    async fn answer(found: &Self, req: &mut Req, _: &mut Incoming) -> Result<Response<Body>, Fail> {
        if !matches!(req.method, Method::GET | Method::HEAD) {
            return Err(Fail::method("GET, HEAD"));
        }
        match found {
            Self::Live => Ok(text(StatusCode::OK, "ok\n")),
            Self::Ready => Box::pin(ready(req)).await,
            Self::Metrics => Box::pin(metrics(req)).await,
        }
    }

    fn refuse(fail: Fail, id: RequestId) -> Response<Body> {
        fail.into_json(id)
    }
}

/// Ready is: the store answers a read. A full disk takes no pushes and is ready all the same: it can be pulled from, and
/// deleted from.
async fn ready(req: &Req) -> Result<Response<Body>, Fail> {
    let (status, line) = match req.state.app.repos.readiness().await? {
        Readiness::Ready => (StatusCode::OK, "ready\n"),
        Readiness::Full => (
            StatusCode::OK,
            "ready; the disk is full: pushes are refused until there is room\n",
        ),
        Readiness::Unreadable => (
            StatusCode::SERVICE_UNAVAILABLE,
            "not ready: the store cannot be read\n",
        ),
    };
    Ok(text(status, line))
}

/// Metrics: for whoever sits on this machine, for an admin, or for all if the configuration says so.
async fn metrics(req: &Req) -> Result<Response<Body>, Fail> {
    // A proxy on this machine brings strangers from loopback.
    let local = req.config.local_metrics()
        && req.peer.addr.ip().to_canonical().is_loopback()
        && !was_forwarded(&req.headers);
    if !local && !req.config.metrics.open {
        may_read_metrics(req).await?;
    }
    let state = &req.state;
    let connections = state.connections.count() as u64;
    let rendered = state.metrics.render(&state.app, connections);
    let mut response = text(StatusCode::OK, rendered);
    put(
        &mut response,
        CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    );
    Ok(response)
}

async fn may_read_metrics(req: &Req) -> Result<(), Fail> {
    let auth = &req.state.app.auth;
    let allowed = auth.authorize(&req.grant, Action::Metrics, Resource::Server);
    if allowed.await? {
        return Ok(());
    }
    if req.grant.principal == Principal::Anonymous {
        let text = "metrics need an administrator's account";
        let fail = Fail::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text);
        return Err(fail.with(WWW_AUTHENTICATE, "Basic realm=\"Dryport\""));
    }
    let text = "metrics need the role admin";
    Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text).for_want_of_a_right())
}
