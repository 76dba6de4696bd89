//! Answers with content that is still on its way here: each byte is sent once it came, the last when all are known to be right.

use super::body::{Wanted, describe, put, wanted};
use crate::http::answer::Fail;
use crate::http::request::Req;
use crate::http::server::sending::parts::content_range;
use crate::types::{Digest, Span};
use crate::upstream::pull::{Growing, GrowingReader};
use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_RANGE;
use axum::http::{Response, StatusCode};
use futures_util::stream;
use std::io;

/// Bytes of one read.
const PIECE: usize = 256 << 10;

/// 200, 206 or 416 for content of this digest and length that is coming. Of several ranges all of it is the answer. What turns
/// out to be wrong breaks the connection off before its end.
pub fn respond(
    req: &Req,
    digest: &Digest,
    kind: &str,
    (growing, size): (&Growing, u64),
) -> Result<Response<Body>, Fail> {
    // It is set once: a request has one answer.
    let _ = req.sent.set(*digest);
    let span = match wanted(&req.headers, (digest, None), size)? {
        Wanted::One(span) => Some(span),
        Wanted::All | Wanted::Many(_) => None,
    };
    let all = Span {
        start: 0,
        len: size,
    };
    let Span { start, len } = span.unwrap_or(all);
    let reader = growing.reader(start..start + len);
    let mut response = Response::new(Body::from_stream(stream::unfold(Some(reader), next)));
    describe(&mut response, digest, kind, len);
    if let Some(span) = span {
        put(&mut response, CONTENT_RANGE, &content_range(span, size));
        *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    }
    Ok(response)
}

async fn next(reader: Option<GrowingReader>) -> Option<(io::Result<Bytes>, Option<GrowingReader>)> {
    let mut reader = reader?;
    match reader.next(PIECE).await {
        Ok(Some(bytes)) => Some((Ok(bytes), Some(reader))),
        Ok(None) => None,
        Err(error) => Some((Err(io::Error::other(error)), None)),
    }
}
