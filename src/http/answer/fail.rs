//! The one place where failures become answers: status, code of the distribution spec ("Error Codes"), text.
//!
//! A 5xx never carries internals: those go to the log under the request id, which every error body names.

use super::hints;
use crate::auth::{AuthError, AuthErrorKind};
use crate::http::log::access::RequestId;
use crate::repo::RepoError;
use crate::telemetry::cut;
use crate::types::{Outage, RepoName};
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use serde_json::{Value, json};

/// An answer that is a refusal.
#[derive(Debug)]
pub struct Fail {
    /// The HTTP status.
    pub status: StatusCode,
    /// The code of the distribution spec.
    pub code: &'static str,
    /// What happened, for people.
    pub message: String,
    /// More, for programs; the request id is added to it.
    pub detail: Option<Box<Value>>,
    /// Headers beside the body (challenge, Retry-After, Range).
    pub headers: Vec<(HeaderName, String)>,
    /// What really happened, for the log only.
    pub cause: Option<String>,
    /// Who asks has no right to it.
    pub denied: bool,
    /// The audit trail has it already.
    pub audited: bool,
}

impl Fail {
    /// A refusal with status, code and text.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
            detail: None,
            headers: Vec::new(),
            cause: None,
            denied: false,
            audited: false,
        }
    }

    /// The same for want of a right.
    #[must_use]
    pub fn for_want_of_a_right(mut self) -> Self {
        self.denied = true;
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn with(mut self, name: HeaderName, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Adds detail for programs.
    #[must_use]
    pub fn detail(mut self, detail: Value) -> Self {
        self.detail = Some(Box::new(detail));
        self
    }

    /// 400 with this code.
    pub fn bad(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, message)
    }

    /// 405: the path exists, the method does not.
    pub fn method(allow: &'static str) -> Self {
        let text = format!("this path answers only {allow}");
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", text)
            .with(axum::http::header::ALLOW, allow)
    }

    /// 404 for a repository that does not exist, or that may not be seen: the two must not differ.
    pub fn name_unknown(name: &RepoName) -> Self {
        RepoError::NameUnknown(name.clone()).into()
    }

    /// 500: the cause goes to the log only.
    pub fn internal(cause: impl Into<String>) -> Self {
        let text = "the server failed; its log says why under this request id";
        let mut fail = Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", text);
        fail.cause = Some(cause.into());
        fail
    }

    fn unavailable(seconds: u64, cause: impl Into<String>) -> Self {
        let text = "the server is busy or recovering; try again shortly";
        let mut fail = Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text)
            .with(RETRY_AFTER, seconds.to_string());
        fail.cause = Some(cause.into());
        fail
    }

    /// 503: the disk takes no changes, or fails. Clients try again by themselves.
    fn disk_down(cause: impl Into<String>) -> Self {
        let mut fail = Self::unavailable(5, cause);
        "the disk of this registry takes no changes at the moment, and what is stored there can be pulled as far as it \
         can be read; try again shortly; its log says more under this request id"
            .clone_into(&mut fail.message);
        fail
    }

    fn no_space(text: String) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, "DENIED", text)
    }

    /// The answer as the registry protocol has it; logs the cause of a 5xx under `id`.
    pub fn into_json(mut self, id: RequestId) -> Response<Body> {
        self.tell(id);
        let mut detail = match self.detail.take().map(|boxed| *boxed) {
            Some(Value::Object(map)) => map,
            Some(other) => [("info".to_owned(), other)].into_iter().collect(),
            None => serde_json::Map::new(),
        };
        detail.insert("request_id".to_owned(), Value::from(id.to_string()));
        let message = clip(&self.message);
        let body =
            json!({ "errors": [{ "code": self.code, "message": message, "detail": detail }] });
        self.answer("application/json", body.to_string())
    }

    /// The answer as people read it who use no client of ours, one line; logs the cause of a 5xx under `id`.
    pub fn into_text(self, id: RequestId) -> Response<Body> {
        self.tell(id);
        let text = format!("{} (request {id})\n", clip(&self.message));
        self.answer("text/plain; charset=utf-8", text)
    }

    /// The answer as a problem document (RFC 9457) with our own kind of failure; logs the cause of a 5xx under `id`.
    pub fn into_problem(self, kind: &'static str, id: RequestId) -> Response<Body> {
        self.tell(id);
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or("Refused"),
            "status": self.status.as_u16(),
            "detail": clip(&self.message),
            "kind": kind,
            "request": id.to_string(),
        });
        self.answer("application/problem+json", body.to_string())
    }

    fn tell(&self, id: RequestId) {
        if let Some(cause) = &self.cause {
            tracing::error!(
                request = %id,
                status = self.status.as_u16(),
                cause = cut(cause),
                "request failed"
            );
        }
    }

    fn answer(self, kind: &'static str, body: String) -> Response<Body> {
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.append(name, value);
            }
        }
        response
    }
}

impl Fail {
    /// The refusal for a failure of what everything is stored in; `text` may be told where the client can do something.
    fn stored(outage: Outage, text: String) -> Self {
        match outage {
            Outage::Busy => Self::unavailable(2, text),
            Outage::Recovering => Self::unavailable(5, text),
            Outage::DiskDown => Self::disk_down(text),
            Outage::NoSpace => Self::no_space(text),
            Outage::Defect => Self::internal(text),
        }
    }
}

impl From<AuthError> for Fail {
    fn from(error: AuthError) -> Self {
        let text = error.to_string();
        if let AuthError::Slowed(seconds) = &error {
            return Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                .with(RETRY_AFTER, seconds.max(&1).to_string());
        }
        match (error.kind(), error) {
            (AuthErrorKind::Store, error) => Self::stored(error.outage(), text),
            (AuthErrorKind::Unauthorized, _) => {
                Self::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", text)
            }
            (AuthErrorKind::TooMany, _) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                    .with(RETRY_AFTER, "5")
            }
            (AuthErrorKind::Usage, _) => Self::bad("UNAUTHORIZED", text),
            (AuthErrorKind::TooMuch, _) => Self::bad("UNSUPPORTED", text),
            (AuthErrorKind::NotFound, _) => Self::new(StatusCode::NOT_FOUND, "DENIED", text),
            (AuthErrorKind::Exists | AuthErrorKind::Refused, _) => {
                Self::new(StatusCode::FORBIDDEN, "DENIED", text)
            }
        }
    }
}

/// Most bytes of a message: what it quotes may be long, and a refusal is short.
const MESSAGE: usize = 2000;

fn clip(message: &str) -> &str {
    &message[..message.floor_char_boundary(MESSAGE)]
}

/// So many missing digests are told of: a refusal is short, whether it is taken or not.
const MISSING: usize = 256;

impl From<RepoError> for Fail {
    fn from(error: RepoError) -> Self {
        Self::from_repo(&error)
    }
}

impl Fail {
    /// The refusal for a failure of the repositories.
    pub fn from_repo(error: &RepoError) -> Self {
        let text = hints::with(error.to_string(), error.remedy().as_ref());
        let not_found = |code, text| Self::new(StatusCode::NOT_FOUND, code, text);
        match error {
            RepoError::NameUnknown(_)
            | RepoError::NothingMatches(_)
            | RepoError::SnapshotUnknown { .. } => not_found("NAME_UNKNOWN", text),
            RepoError::ManifestUnknown(_) => not_found("MANIFEST_UNKNOWN", text),
            RepoError::BlobUnknown(_) => not_found("BLOB_UNKNOWN", text),
            RepoError::UploadUnknown => not_found("BLOB_UPLOAD_UNKNOWN", text),
            RepoError::OutOfOrder { .. } => Self::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "BLOB_UPLOAD_INVALID",
                text,
            ),
            RepoError::Size { .. } => Self::bad("SIZE_INVALID", text),
            RepoError::Digest(_) => Self::bad("DIGEST_INVALID", text),
            RepoError::ManifestInvalid(_) => Self::bad("MANIFEST_INVALID", text),
            RepoError::ManifestBlobUnknown(missing) => {
                let some = &missing[..missing.len().min(MISSING)];
                let detail = json!({ "missing": some, "count": missing.len() });
                Self::bad("MANIFEST_BLOB_UNKNOWN", text).detail(detail)
            }
            RepoError::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "SIZE_INVALID", text)
            }
            RepoError::ReadOnly(_)
            | RepoError::NotAttached { .. }
            | RepoError::Quota { .. }
            | RepoError::HistoryFull { .. } => Self::new(StatusCode::FORBIDDEN, "DENIED", text),
            RepoError::PathUnknown(_) => not_found("NOT_FOUND", text),
            RepoError::FileDamaged(_) => {
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "UNKNOWN", text)
            }
            RepoError::Precondition { .. } => {
                Self::new(StatusCode::PRECONDITION_FAILED, "DENIED", text)
            }
            RepoError::Refused(_)
            | RepoError::Mendable(..)
            | RepoError::OtherKind { .. }
            | RepoError::Exists(_)
            | RepoError::PathTaken { .. } => Self::new(StatusCode::CONFLICT, "DENIED", text),
            RepoError::UploadBusy => Self::new(StatusCode::CONFLICT, "BLOB_UPLOAD_INVALID", text),
            RepoError::Staged(_) => Self::new(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", text)
                .with(RETRY_AFTER, "5"),
            RepoError::Crowded | RepoError::OneAtATime | RepoError::Restless => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                    .with(RETRY_AFTER, "5")
            }
            RepoError::TooManyUploads { .. } => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "TOOMANYREQUESTS", text)
                    .with(RETRY_AFTER, "60")
            }
            RepoError::Body(_) => Self::bad("BLOB_UPLOAD_INVALID", text),
            RepoError::Task(_) => Self::internal(text),
            RepoError::Blob(_) | RepoError::Store(_) => match error.outage() {
                Some(outage) => Self::stored(outage, text),
                None => Self::bad("DIGEST_INVALID", text),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::log::access::Ids;

    #[test]
    fn codes_and_statuses() {
        let name: RepoName = "a/b".parse().expect("valid");
        let fail: Fail = RepoError::NameUnknown(name.clone()).into();
        assert_eq!((fail.status.as_u16(), fail.code), (404, "NAME_UNKNOWN"));
        assert_eq!(fail.message, Fail::name_unknown(&name).message);
        let fail: Fail = RepoError::TooLarge(4).into();
        assert_eq!(fail.status.as_u16(), 413);
        let fail: Fail = RepoError::OutOfOrder { want: 1, got: 2 }.into();
        assert_eq!(fail.status.as_u16(), 416);
    }

    #[test]
    fn a_5xx_keeps_its_cause_to_itself() {
        let fail = Fail::internal("/secret/path: input/output error");
        assert!(!fail.message.contains("secret"));
        let response = fail.into_json(Ids::default().next());
        assert_eq!(response.status().as_u16(), 500);
    }
}
