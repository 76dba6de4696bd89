//! What no other surface has: the root, the first version of the registry API, and paths at which nothing is served.
//!
//! Owns one line of text for each of them. Must not know who asks.

use super::{ChallengeKind, Credentials, Surface};
use crate::auth::Action;
use crate::http::answer::Fail;
use crate::http::answer::body::text;
use crate::http::log::access::RequestId;
use crate::http::metrics::RequestClass;
use crate::http::request::{Incoming, Req};
use axum::body::Body;
use axum::http::{Method, Response, StatusCode};

const ROOT: &str = "Dryport, a registry. Its protocol is at /v2/, its health at /readyz.\n";
const V1: &str = "This server speaks version 2 of the registry protocol, at /v2/. Version 1 has been dead since 2015: \
use a client that knows version 2.\n";
const NOTHING: &str = "Nothing is served here; the registry is at /v2/.\n";

/// A path of no other surface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    /// `/`: one line that says what this is.
    Root,
    /// `/v1/_ping`, which old clients use to find out whether a registry is there.
    V1Ping,
    /// Any other path below `/v1`.
    V1,
    /// Nothing that is served here.
    Nothing,
}

impl Elsewhere {
    /// What a raw path means here.
    pub fn of(path: &str) -> Self {
        match path {
            "/" => Self::Root,
            "/v1/_ping" => Self::V1Ping,
            "/v1" => Self::V1,
            _ if path.starts_with("/v1/") => Self::V1,
            _ => Self::Nothing,
        }
    }
}

impl Surface for Elsewhere {
    const CHALLENGE: ChallengeKind = ChallengeKind::Token;
    type Found = Self;

    fn parse(path: &str) -> Option<Self> {
        Some(Self::of(path))
    }

    fn class(&self) -> RequestClass {
        RequestClass::Other
    }

    fn action(&self, _: &Method) -> Action {
        Action::Ping
    }

    fn credentials(&self) -> Credentials {
        Credentials::Ignored
    }

    async fn resolve(self, _: &Req) -> Result<Self, Fail> {
        Ok(self)
    }

    async fn answer(found: &Self, req: &mut Req, _: &mut Incoming) -> Result<Response<Body>, Fail> {
        let (status, line) = match found {
            Self::V1 => return Ok(text(StatusCode::NOT_FOUND, V1)),
            Self::Nothing => return Ok(text(StatusCode::NOT_FOUND, NOTHING)),
            Self::Root => (StatusCode::OK, ROOT),
            Self::V1Ping => (StatusCode::OK, "true"),
        };
        if !matches!(req.method, Method::GET | Method::HEAD) {
            return Err(Fail::method("GET, HEAD"));
        }
        Ok(text(status, line))
    }

    fn refuse(fail: Fail, id: RequestId) -> Response<Body> {
        fail.into_json(id)
    }
}
