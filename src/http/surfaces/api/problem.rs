//! Failures of operations as answers: problem documents (RFC 9457).

use crate::app::ops::{Fault, FaultKind};
use crate::http::answer::{Fail, hints};
use crate::http::log::access::RequestId;
use axum::body::Body;
use axum::http::header::RETRY_AFTER;
use axum::http::{Response, StatusCode};

/// The refusal that a fault is: the one place where kinds become statuses of REST.
pub fn of(fault: Fault) -> Fail {
    let status = match fault.kind {
        FaultKind::Usage => StatusCode::BAD_REQUEST,
        FaultKind::NotFound => StatusCode::NOT_FOUND,
        FaultKind::Denied => StatusCode::FORBIDDEN,
        FaultKind::State | FaultKind::Evidence => StatusCode::CONFLICT,
        FaultKind::Damaged => StatusCode::INTERNAL_SERVER_ERROR,
        FaultKind::Failed => StatusCode::SERVICE_UNAVAILABLE,
    };
    let text = hints::with(fault.message, fault.remedy.as_ref());
    if !status.is_server_error() {
        return audited(Fail::new(status, word(fault.kind), text));
    }
    let told = "the server could not do this; its log says why under this request id";
    let mut fail = Fail::new(status, word(fault.kind), told);
    fail.cause = Some(text);
    match fault.kind {
        FaultKind::Failed => audited(fail.with(RETRY_AFTER, "10")),
        _ => audited(fail),
    }
}

/// The same before the operation began: it has written no row of the audit trail.
pub fn before(fault: Fault) -> Fail {
    let mut fail = of(fault);
    fail.audited = false;
    fail
}

/// Operations write rows of the audit trail by themselves.
fn audited(mut fail: Fail) -> Fail {
    fail.audited = true;
    fail
}

/// The word of a kind, as documents have it.
fn word(kind: FaultKind) -> &'static str {
    match kind {
        FaultKind::Failed => "failed",
        FaultKind::Usage => "usage",
        FaultKind::NotFound => "not-found",
        FaultKind::Denied => "denied",
        FaultKind::State => "state",
        FaultKind::Damaged => "damaged",
        FaultKind::Evidence => "evidence",
    }
}

/// The answer of a refusal, of an operation or of what comes before one.
pub fn render(fail: Fail, id: RequestId) -> Response<Body> {
    let kind = match fail.status.as_u16() {
        401 | 403 => FaultKind::Denied,
        404 => FaultKind::NotFound,
        409 => FaultKind::State,
        400..=499 => FaultKind::Usage,
        _ if fail.code == word(FaultKind::Damaged) => FaultKind::Damaged,
        _ => FaultKind::Failed,
    };
    fail.into_problem(word(kind), id)
}
