//! The one way of a request through its surface: limits, credentials, repository, answer.
//!
//! Owns the order of these steps. Must not know which surface it is.

use super::{Credentials, Surface};
use crate::auth::{Action, Principal};
use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::caller::credentials::{authenticate, shown};
use crate::http::log::audit;
use crate::http::request::{Incoming, Query, Req};
use crate::http::server::limits::{Client, ClientPlace};
use crate::types::RepoName;
use axum::body::Body;
use axum::http::Response;
use std::sync::Arc;

/// Takes a request from its limits to its answer.
pub async fn answer<S: Surface>(
    path: S,
    req: &mut Req,
    query: &str,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    let credentials = path.credentials();
    if credentials != Credentials::Ignored {
        let first = at_first(req);
        req.place = place(req, &first).await?;
        req.query = Query::parse(query).map_err(|e| path.too_many(e))?;
        if credentials == Credentials::Checked {
            let checked = check(req, &path, first).await;
            if let Err(fail) = &checked {
                Box::pin(audit::refused_login(req, fail)).await;
            }
            checked?;
        }
    }
    let action = path.action(&req.method);
    let opens = path.opens_a_file(&req.method);
    let found = match path.resolve(req).await {
        Ok(found) => found,
        Err(fail) => {
            Box::pin(audit::ended(req, None, (action, None), Err(&fail))).await;
            return Err(fail);
        }
    };
    let name = S::name(&found);
    admit(req, (action, name), opens, body).await?;
    let changing = if S::WRITES_ROWS {
        None
    } else {
        audit::changing(req, action).await
    };
    let done = match changing {
        None => S::answer(&found, req, body).await,
        Some(changing) => {
            let cause = Arc::clone(&changing.cause);
            let done = cause.of(S::answer(&found, req, body)).await;
            let done = ended(req, (action, name), body, done);
            let end = done.as_ref().map(|done| (done.status(), done.headers()));
            Box::pin(audit::ended(req, Some(&changing), (action, name), end)).await;
            return done;
        }
    };
    match &done {
        Ok(response) => audit::pulled(req, name, response),
        Err(fail) => Box::pin(audit::ended(req, None, (action, name), Err(fail))).await,
    }
    done
}

/// Finds out who asks. From then on the request counts for the account, if it has one.
async fn check<S: Surface>(req: &mut Req, path: &S, first: Client) -> Result<(), Fail> {
    req.grant = authenticate(req, || path.scope(&req.method)).await?;
    // No scope: it was a password.
    if let (Principal::User(user), None) = (&req.grant.principal, &req.grant.scope) {
        req.state.app.after_login(user.as_str());
    }
    let client = req.client();
    if client != first {
        req.place = place(req, &client).await?;
    }
    Ok(())
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
async fn place(req: &Req, client: &Client) -> Result<Option<ClientPlace>, Fail> {
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
