//! REST: the operations of `app::ops` below `/api/v1`, and what they are at `/api/v1/openapi.json`.
//!
//! Made from the table of operations: no operation is known here by name. A name that holds `/` stands in the query or in the
//! body, never in the path. Callers log in with a name and a password; tokens of the registry open nothing here. A failure is
//! a problem document of RFC 9457.

mod openapi;
mod problem;

use super::{ChallengeKind, Credentials, Surface};
use crate::app::ops::{self, Ctx, Declared, Fault, FaultKind, Reach, Requester, Verb};
use crate::auth::{Action, Principal};
use crate::http::PATIENCE;
use crate::http::answer::Fail;
use crate::http::log::access::RequestId;
use crate::http::metrics::RequestClass;
use crate::http::request::{Incoming, Req};
use axum::body::Body;
use axum::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, USER_AGENT};
use axum::http::{HeaderValue, Method, Response, StatusCode};
use bytes::Bytes;
use serde_json::Value;

/// Where the operations begin.
pub const ROOT: &str = "/api/v1";
/// The description of them.
const OPENAPI: &str = "/openapi.json";
/// A body is at most this long; a CA bundle is the largest thing in it.
const BODY: u64 = 1 << 20;

/// The verb that a method stands for.
fn verb(method: &Method) -> Option<Verb> {
    Some(match *method {
        Method::GET | Method::HEAD => Verb::Read,
        Method::POST => Verb::Make,
        Method::PUT => Verb::Set,
        Method::DELETE => Verb::Remove,
        _ => return None,
    })
}

/// The method that stands for a verb.
fn method(verb: Verb) -> Method {
    match verb {
        Verb::Read => Method::GET,
        Verb::Make => Method::POST,
        Verb::Set => Method::PUT,
        Verb::Remove => Method::DELETE,
    }
}

/// A path below [`ROOT`], without it.
pub struct ApiPath(String);

/// What a request means.
pub enum Described {
    /// The description of all operations.
    OpenApi,
    /// One of them.
    Operation(&'static Declared),
}

impl Surface for ApiPath {
    const CHALLENGE: ChallengeKind = ChallengeKind::Password;
    const WRITES_ROWS: bool = true;
    type Found = Described;

    fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| Self(rest.to_owned()))
    }

    fn class(&self) -> RequestClass {
        RequestClass::Api
    }

    fn action(&self, method: &Method) -> Action {
        let row = rows(self).find(|row| Some(row.spec().verb) == verb(method));
        row.map_or(Action::Ping, |row| row.spec().action)
    }

    /// The description says nothing of what is here.
    fn credentials(&self) -> Credentials {
        if self.0 == OPENAPI {
            Credentials::Ignored
        } else {
            Credentials::Checked
        }
    }

    /// Which repository an operation concerns stands in its input, and its right is looked up there.
    async fn resolve(self, req: &Req) -> Result<Described, Fail> {
        if self.0 == OPENAPI {
            if !matches!(req.method, Method::GET | Method::HEAD) {
                return Err(Fail::method("GET, HEAD"));
            }
            return Ok(Described::OpenApi);
        }
        // Tokens are for the registry protocol: their grammar has no word for operations. And a stranger's body is not read.
        if req.grant.scope.is_some() || req.grant.principal == Principal::Anonymous {
            return Err(req.unauthorized("", None));
        }
        found(&self, &req.method).map(Described::Operation)
    }

    async fn answer(
        found: &Described,
        req: &mut Req,
        body: &mut Incoming,
    ) -> Result<Response<Body>, Fail> {
        match found {
            Described::OpenApi => Ok(json(StatusCode::OK, openapi::text())),
            Described::Operation(row) => Box::pin(perform(row, req, body)).await,
        }
    }

    fn refuse(fail: Fail, id: RequestId) -> Response<Body> {
        problem::render(fail, id)
    }
}

/// The operations at a path.
fn rows(path: &ApiPath) -> impl Iterator<Item = &'static Declared> {
    ops::ALL.iter().filter(|row| row.spec().path == path.0)
}

/// The operation that a path and a method mean.
fn found(path: &ApiPath, asked: &Method) -> Result<&'static Declared, Fail> {
    let rows: Vec<_> = rows(path).collect();
    if rows.is_empty() {
        let text = format!("there is no operation at this path; {ROOT}{OPENAPI} describes all");
        return Err(Fail::new(StatusCode::NOT_FOUND, "NOT_FOUND", text));
    }
    let row = rows.iter().find(|row| Some(row.spec().verb) == verb(asked));
    match row {
        Some(row) if row.spec().reach == Reach::All => Ok(row),
        Some(_) => {
            let text = "this concerns the server's own machine: its operator can ask for it there";
            Err(Fail::new(StatusCode::FORBIDDEN, "DENIED", text).for_want_of_a_right())
        }
        None => {
            let of = |row: &&Declared| method(row.spec().verb).to_string();
            let allow = rows.iter().map(of).collect::<Vec<_>>().join(", ");
            let text = format!("this path answers only {allow}");
            let fail = Fail::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", text);
            Err(fail.with(ALLOW, allow))
        }
    }
}

async fn perform(
    row: &&'static Declared,
    req: &Req,
    body: &mut Incoming,
) -> Result<Response<Body>, Fail> {
    let spec = row.spec();
    // Some take long, and much memory.
    let words = ("operations", "try again when they are done");
    let _place = req.state.past.take(&req.client(), PATIENCE, words).await?;
    let input = match spec.verb {
        Verb::Read | Verb::Remove => row.read_query(req.query.encoded().trim_start_matches('?')),
        Verb::Make | Verb::Set => row.read(document(req, body).await?),
    };
    let input = input.map_err(problem::before)?;
    let requester = Requester {
        grant: req.grant.clone(),
        address: Some(req.caller.ip),
        agent: req
            .header(USER_AGENT.as_str())
            .unwrap_or_default()
            .to_owned(),
        request: req.id.to_string(),
    };
    let ctx = Ctx::account(req.state.app.clone(), requester);
    // A change that was begun is told of in the log, also if its client goes away.
    let (row, reads) = (*row, spec.verb == Verb::Read);
    let call = async move { row.call(&ctx, input).await };
    let reply = if reads {
        call.await
    } else {
        let task = tokio::spawn(call).await;
        task.map_err(|e| Fail::internal(format!("an operation was cut short: {e}")))?
    };
    let reply = reply.map_err(problem::of)?;
    let text = serde_json::to_vec(&reply).map_err(|e| Fail::internal(e.to_string()))?;
    let status = if spec.slow && reply.get("job").is_some() {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    Ok(json(status, text.into()))
}

/// The body, which must say that it is JSON: a page of another site cannot send such a thing with a person's password.
async fn document(req: &Req, body: &mut Incoming) -> Result<Value, Fail> {
    let kind = req.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        let text = "the body must be JSON, with Content-Type: application/json";
        return Err(Fail::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UNSUPPORTED",
            text,
        ));
    }
    let document = req.document(body, BODY).await?;
    let (bytes, _turn) = document.ok_or_else(|| {
        let text = format!("the body is longer than {BODY} bytes");
        Fail::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
    })?;
    // The parser's message could quote a password: only the place is told.
    serde_json::from_slice(&bytes).map_err(|e| {
        let text = format!(
            "the body is no JSON: fault at line {} column {}",
            e.line(),
            e.column()
        );
        problem::of(Fault::new(FaultKind::Usage, text))
    })
}

fn json(status: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
