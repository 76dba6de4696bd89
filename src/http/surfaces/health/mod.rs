//! What is answered outside the registry protocol: health, metrics, and the first version of the registry API.

use crate::auth::{Action, Principal, Resource};
use crate::http::answer::Fail;
use crate::http::answer::body::put;
use crate::http::caller::origin::{Peer, was_forwarded};
use crate::http::request::Req;
use crate::http::surfaces::route::Route;
use crate::store::{Get as _, StoreError, Table};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{Method, Response, StatusCode};

const V1: &str = "This server speaks version 2 of the registry protocol, at /v2/. Version 1 has been dead since 2015: \
use a client that knows version 2.\n";

/// Whether the route answers anybody, whatever credentials are shown.
pub fn is_open(route: &Route) -> bool {
    matches!(
        route,
        Route::Root | Route::Live | Route::Ready | Route::V1Ping | Route::V1 | Route::Unknown
    )
}

/// The right whose name stands in the log.
pub fn action(route: &Route) -> Action {
    match route {
        Route::Metrics => Action::Metrics,
        Route::Live | Route::Ready => Action::Health,
        _ => Action::Ping,
    }
}

/// Answers a route that is not of the registry protocol.
pub async fn answer(req: &Req, route: &Route, peer: Peer) -> Result<Response<Body>, Fail> {
    if matches!(route, Route::V1) {
        return Ok(text(StatusCode::NOT_FOUND, V1));
    }
    if matches!(route, Route::Unknown) {
        return Ok(text(
            StatusCode::NOT_FOUND,
            "Nothing is served here; the registry is at /v2/.\n",
        ));
    }
    if !matches!(req.method, Method::GET | Method::HEAD) {
        return Err(Fail::method("GET, HEAD"));
    }
    match route {
        Route::Ready => ready(req).await,
        Route::Metrics => metrics(req, peer).await,
        Route::Live => Ok(text(StatusCode::OK, "ok\n")),
        Route::V1Ping => Ok(text(StatusCode::OK, "true")),
        _ => Ok(text(
            StatusCode::OK,
            "Dryport, a registry. Its protocol is at /v2/, its health at /readyz.\n",
        )),
    }
}

fn text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// Ready is: the store answers a read. A full disk takes no pushes and is ready all the same: it can be pulled from, and
/// deleted from.
async fn ready(req: &Req) -> Result<Response<Body>, Fail> {
    let store = req.state.app.store.clone();
    let look = move || {
        store.read::<_, StoreError>(|r| r.get(Table::Meta, b"ready").map(|_| ()))?;
        Ok::<_, StoreError>(store.is_full())
    };
    match tokio::task::spawn_blocking(look).await {
        Ok(Ok(true)) => Ok(text(
            StatusCode::OK,
            "ready; the disk is full: pushes are refused until there is room\n",
        )),
        Ok(Ok(false)) => Ok(text(StatusCode::OK, "ready\n")),
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store cannot be read");
            Ok(text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready: the store cannot be read\n",
            ))
        }
        Err(error) => Err(Fail::internal(error.to_string())),
    }
}

/// Metrics: for whoever sits on this machine, for an admin, or for all if the configuration says so.
async fn metrics(req: &Req, peer: Peer) -> Result<Response<Body>, Fail> {
    // A proxy on this machine brings strangers from loopback.
    let local = req.config.metrics_local
        && peer.addr.ip().to_canonical().is_loopback()
        && !was_forwarded(&req.headers);
    if !local && !req.config.metrics_open {
        let allowed = req
            .state
            .app
            .auth
            .authorize(&req.grant, Action::Metrics, Resource::Server)
            .await?;
        if !allowed && req.grant.principal == Principal::Anonymous {
            let fail = Fail::new(
                StatusCode::UNAUTHORIZED,
                "UNAUTHORIZED",
                "metrics need an administrator's account",
            );
            return Err(fail.with(WWW_AUTHENTICATE, "Basic realm=\"Dryport\""));
        }
        if !allowed {
            return Err(Fail::new(
                StatusCode::FORBIDDEN,
                "DENIED",
                "metrics need the role admin",
            ));
        }
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
