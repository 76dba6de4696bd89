//! What of a request goes to the audit trail: who asks for a change, what was refused or failed, what was pulled.
//!
//! Owns which requests are acts. Operations write rows of their own.

use super::access::RequestId;
use crate::app::App;
use crate::audit::{Act, AuditOutcome, Cause, Ended, Pull};
use crate::auth::{Action, Principal, UserName};
use crate::http::answer::Fail;
use crate::http::caller::credentials::{basic, shown, who};
use crate::http::request::Req;
use crate::telemetry::cut;
use crate::types::RepoName;
use axum::body::Body;
use axum::http::header::USER_AGENT;
use axum::http::{HeaderMap, Method, Response, StatusCode};
use std::sync::Arc;

/// A request that changes something, if it comes to that.
pub struct Changing {
    act: Arc<Act>,
    /// The cause of its changes.
    pub cause: Arc<Cause>,
}

/// What the refusal of credentials is called.
const LOGIN: &str = "login";

/// The act of a request that may change what the registry holds.
pub async fn changing(req: &Req, action: Action) -> Option<Changing> {
    let changes = matches!(
        action,
        Action::RepoPush | Action::TagWrite | Action::RepoDelete
    );
    if !changes || matches!(req.method, Method::GET | Method::HEAD) {
        return None;
    }
    let act = Arc::new(act(req, action.name()).await);
    let cause = act.cause();
    Some(Changing { act, cause })
}

async fn act(req: &Req, action: &str) -> Act {
    let agent = req.header(USER_AGENT.as_str()).unwrap_or_default();
    let app: &App = &req.state.app;
    let by = app
        .initiator(
            &req.grant.principal,
            Some(req.caller.ip),
            agent,
            &req.id.to_string(),
        )
        .await;
    let input = format!("{} {}", req.method, cut(req.uri.path()));
    Act::since(req.start, &by, action, &input)
}

/// Counts content that was brought: it is shown by its digest from now on, before any manifest names it.
fn brought(req: &Req, name: &RepoName, headers: &HeaderMap) {
    let digest = headers.get("docker-content-digest");
    let digest = digest.and_then(|digest| digest.to_str().ok()?.parse().ok());
    if let Some(digest) = digest {
        req.state.app.audit.pulled(Pull {
            action: "blob.push",
            account: who(&req.grant.principal),
            address: req.caller.ip,
            repo: name.clone(),
            digest,
        });
    }
}

/// After a request whose right was looked up: its end is a row where it failed, and where a change left none.
pub async fn ended(
    req: &Req,
    changing: Option<&Changing>,
    (action, name): (Action, Option<&RepoName>),
    done: Result<(StatusCode, &HeaderMap), &Fail>,
) {
    let resource = name.map_or("server".to_owned(), ToString::to_string);
    match done {
        Err(fail) => failed(req, changing, (action, resource), fail).await,
        Ok((StatusCode::CREATED, headers)) if action == Action::RepoPush => {
            let told = changing.is_none_or(|changing| changing.cause.is_told());
            if let Some(name) = name.filter(|_| !told) {
                brought(req, name, headers);
            }
        }
        Ok((status, _)) => {
            let told = changing.is_none_or(|changing| changing.cause.is_told());
            let removes = action == Action::RepoDelete && status.is_success();
            if let Some(changing) = changing.filter(|_| removes && !told) {
                let end = end(resource, AuditOutcome::Success, status, "");
                write(&req.state.app, req.id, &changing.act, &end).await;
            }
        }
    }
}

async fn write(app: &App, id: RequestId, act: &Act, end: &Ended) {
    if let Err(error) = app.audit.write(act, end).await {
        tracing::error!(%error, request = %id, "what was done has no row in the audit trail");
    }
}

async fn failed(
    req: &Req,
    changing: Option<&Changing>,
    (action, resource): (Action, String),
    fail: &Fail,
) {
    if fail.audited {
        return;
    }
    let stranger = req.grant.principal == Principal::Anonymous && req.grant.scope.is_none();
    if stranger && is_of_login(fail) {
        return refused_login(req, fail).await;
    }
    let denied = fail.denied || fail.status == StatusCode::UNAUTHORIZED;
    let outcome = if denied {
        AuditOutcome::Denied
    } else {
        AuditOutcome::Error
    };
    let end = end(resource, outcome, fail.status, &fail.message);
    match changing {
        Some(changing) => req.state.app.audit.note(&changing.act, &end),
        // Of a change that came to nothing before it began.
        None if outcome == AuditOutcome::Denied || changes(req) => {
            let act = act(req, action.name()).await;
            req.state.app.audit.note(&act, &end);
        }
        None => {}
    }
}

/// After a request whose credentials do not count, or not now. Who shows none is asked for some first: that is no refusal.
pub async fn refused_login(req: &Req, fail: &Fail) {
    if let Some(value) = shown(&req.headers).filter(|_| is_of_login(fail)) {
        let name = basic(value).map(|(name, _)| name);
        login_refused(req, name.as_deref(), fail).await;
    }
}

fn is_of_login(fail: &Fail) -> bool {
    matches!(
        fail.status,
        StatusCode::UNAUTHORIZED | StatusCode::TOO_MANY_REQUESTS
    )
}

/// The same for credentials that came in another way; a name is what was shown as one.
pub async fn login_refused(req: &Req, name: Option<&str>, fail: &Fail) {
    // A person may type a password where the name belongs: only what can be a name is kept.
    let name = name.filter(|name| name.parse::<UserName>().is_ok());
    let resource = match name {
        Some(name) => format!("user:{name}"),
        None => "server".to_owned(),
    };
    let act = act(req, LOGIN).await;
    let end = end(resource, AuditOutcome::Denied, fail.status, &fail.message);
    req.state.app.audit.note(&act, &end);
}

/// Whether an account wants something changed.
fn changes(req: &Req) -> bool {
    let reads = matches!(req.method, Method::GET | Method::HEAD | Method::OPTIONS);
    !reads && req.grant.principal != Principal::Anonymous
}

fn end(resource: String, outcome: AuditOutcome, status: StatusCode, error: &str) -> Ended {
    Ended {
        resource,
        outcome,
        status: status.as_u16(),
        error: error.to_owned(),
    }
}

/// Counts the pull of content that was answered.
pub fn pulled(req: &Req, name: Option<&RepoName>, response: &Response<Body>) {
    let (Some(digest), Some(name)) = (req.sent.get(), name) else {
        return;
    };
    let audit = &req.state.app.audit;
    let sent = matches!(
        response.status(),
        StatusCode::OK | StatusCode::PARTIAL_CONTENT
    );
    if sent && audit.counts_pulls() {
        audit.pulled(Pull {
            action: "pull",
            account: who(&req.grant.principal),
            address: req.caller.ip,
            repo: name.clone(),
            digest: *digest,
        });
    }
}
