//! Bodies of answers: whole, in ranges, not modified (RFC 9110 sections 13 and 14).

use crate::http::answer::Fail;
use crate::http::request::Req;
use crate::http::server::limits::many_ranges::RangeLeave;
use crate::http::server::sending::parts::{BodyParts, content_range};
use crate::http::server::sending::pieces::pieces;
use crate::http::server::sending::sendfile::Outbox;
use crate::repo::{Blob, BlobBody};
use crate::types::{ByteRanges, Digest, RangeError, Span};
use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Bytes to answer with.
pub enum BodyContent {
    /// In memory.
    Bytes(Bytes),
    /// In a file.
    File {
        /// It.
        file: Arc<File>,
        /// Its length in bytes.
        len: u64,
        /// Where the answer's connection has the kernel send files.
        outbox: Option<Outbox>,
    },
}

impl BodyContent {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File { len, .. } => *len,
        }
    }
}

/// What to answer with for a blob.
pub fn content(req: &Req, blob: Blob) -> BodyContent {
    match blob.body {
        BlobBody::Inline(bytes) => BodyContent::Bytes(bytes),
        BlobBody::File(file) => BodyContent::File {
            file,
            len: blob.size,
            outbox: req.outbox.clone(),
        },
    }
}

/// An answer without a body.
pub fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer that is plain text.
pub fn text(status: StatusCode, text: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    put(&mut response, CONTENT_TYPE, "text/plain; charset=utf-8");
    response
}

/// The entity tag of content: its digest in quotes.
pub fn etag(digest: &Digest) -> String {
    let digest = digest.to_string();
    ["\"", &digest, "\""].concat()
}

/// Whether `If-None-Match` names this content: then 304 is the answer.
pub fn not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
    if !headers.contains_key(IF_NONE_MATCH) {
        return false;
    }
    let values = headers
        .get_all(IF_NONE_MATCH)
        .iter()
        .filter_map(|v| v.to_str().ok());
    let digest = digest.to_string();
    // Some clients send the digest without quotes.
    let matches =
        |tag: &str| tag == "*" || tag.trim_start_matches("W/").trim_matches('"') == digest;
    values
        .flat_map(|v| v.split(','))
        .any(|tag| matches(tag.trim()))
}

/// 200, 206 or 416 for content with this digest, as `Range` and `If-Range` ask. An answer of several ranges waits until few
/// of its client are on their way; 429 says that it waited too long.
pub async fn respond(
    req: &Req,
    digest: &Digest,
    kind: &str,
    content: BodyContent,
) -> Result<Response<Body>, Fail> {
    respond_dated(req, (digest, None), kind, content).await
}

/// The same for content that has been there since a time, in whole seconds since 1970 that no other content of this URL has:
/// `If-Range` may name that as well.
pub async fn respond_dated(
    req: &Req,
    (digest, since): (&Digest, Option<u64>),
    kind: &str,
    content: BodyContent,
) -> Result<Response<Body>, Fail> {
    let mut wanted = wanted(&req.headers, (digest, since), content.len())?;
    // It is set once: a request has one answer.
    let _ = req.sent.set(*digest);
    let mut leave = RangeLeave::default();
    if matches!(wanted, Wanted::Many(_)) {
        match req.state.ranges.leave(req).await? {
            Some(held) => leave = held,
            None => wanted = Wanted::All,
        }
    }
    Ok(answer((wanted, leave), digest, kind, content))
}

fn answer(
    (wanted, leave): (Wanted, RangeLeave),
    digest: &Digest,
    kind: &str,
    content: BodyContent,
) -> Response<Body> {
    let total = content.len();
    let mut response = match wanted {
        Wanted::All => {
            let mut response = Response::new(whole(content));
            describe(&mut response, digest, kind, total);
            return response;
        }
        Wanted::One(span) => {
            let mut response = Response::new(pieces(content, BodyParts::one(span)));
            describe(&mut response, digest, kind, span.len);
            put(&mut response, CONTENT_RANGE, &content_range(span, total));
            response
        }
        Wanted::Many(spans) => {
            let boundary = format!("dryport-{:.24}", digest.hex());
            let parts = BodyParts::multipart((spans, leave), total, kind, &boundary);
            let kind = format!("multipart/byteranges; boundary={boundary}");
            let len = parts.len();
            let mut response = Response::new(pieces(content, parts));
            describe(&mut response, digest, &kind, len);
            response
        }
    };
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    response
}

/// Type, length, tag: the same for GET and HEAD.
pub fn describe(response: &mut Response<Body>, digest: &Digest, kind: &str, len: u64) {
    put(response, CONTENT_TYPE, kind);
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(len));
    response
        .headers_mut()
        .insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    put(response, ETAG, &etag(digest));
}

/// Sets a header whose value was made of checked parts; what no header can carry is left out.
pub fn put(response: &mut Response<Body>, name: axum::http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}

/// What a request asks for of some content.
pub(super) enum Wanted {
    All,
    One(Span),
    Many(Vec<Span>),
}

/// Ranges beyond this many times the content are answered with all of it, once.
const MOST_TIMES: u64 = 2;

/// What `Range` and `If-Range` ask for.
pub(super) fn wanted(
    headers: &HeaderMap,
    (digest, since): (&Digest, Option<u64>),
    total: u64,
) -> Result<Wanted, Fail> {
    let Some(range) = headers.get(RANGE).and_then(|v| v.to_str().ok()) else {
        return Ok(Wanted::All);
    };
    let is_of_this = |value: &HeaderValue| {
        value.as_bytes() == etag(digest).as_bytes()
            || since.is_some_and(|since| is_date(value, since))
    };
    if headers.get(IF_RANGE).is_some_and(|v| !is_of_this(v)) {
        return Ok(Wanted::All);
    }
    let spans = match ByteRanges::parse(range) {
        Ok(ranges) => ranges.within(total),
        Err(RangeError::Syntax | RangeError::Many) => return Ok(Wanted::All),
        Err(RangeError::Unsatisfiable) => return Err(unsatisfiable(total)),
    };
    match spans[..] {
        [] => return Err(unsatisfiable(total)),
        [span] => return Ok(Wanted::One(span)),
        _ => {}
    }
    let most = total.saturating_mul(MOST_TIMES);
    let within = |sum: u64, span: &Span| sum.checked_add(span.len).filter(|sum| *sum <= most);
    Ok(match spans.iter().try_fold(0, within) {
        Some(_) => Wanted::Many(spans),
        None => Wanted::All,
    })
}

/// Whether a header's value is this date, in whole seconds since 1970.
fn is_date(value: &HeaderValue, seconds: u64) -> bool {
    let text = value.to_str().unwrap_or_default();
    let date = httpdate::parse_http_date(text).ok();
    date.is_some_and(|date| date == UNIX_EPOCH + Duration::from_secs(seconds))
}

fn unsatisfiable(total: u64) -> Fail {
    let text = RangeError::Unsatisfiable.to_string();
    Fail::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", text)
        .with(CONTENT_RANGE, format!("bytes */{total}"))
}

fn whole(content: BodyContent) -> Body {
    let span = Span {
        start: 0,
        len: content.len(),
    };
    pieces(content, BodyParts::one(span))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::server::sending::pieces::sent;
    use crate::types::Algorithm;
    use std::io::Write as _;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(k, v)| {
                (
                    axum::http::HeaderName::from_static(k),
                    v.parse().expect("header"),
                )
            })
            .collect()
    }

    async fn get(pairs: &[(&'static str, &str)], content: BodyContent) -> (u16, String) {
        let digest = Digest::of(Algorithm::Sha256, b"0123456789");
        match wanted(&headers(pairs), (&digest, Some(784_111_777)), content.len()) {
            Ok(wanted) => {
                let wanted = (wanted, RangeLeave::default());
                let response = answer(wanted, &digest, "text/plain", content);
                let status = response.status().as_u16();
                let len = response.headers()[CONTENT_LENGTH]
                    .to_str()
                    .expect("text")
                    .to_owned();
                let body = sent(response.into_body()).await;
                assert_eq!(len, body.len().to_string());
                (status, String::from_utf8_lossy(&body).into_owned())
            }
            Err(fail) => (fail.status.as_u16(), format!("{:?}", fail.headers)),
        }
    }

    fn memory() -> BodyContent {
        BodyContent::Bytes(Bytes::from_static(b"0123456789"))
    }

    fn in_file(file: File) -> BodyContent {
        BodyContent::File {
            file: Arc::new(file),
            len: 10,
            outbox: None,
        }
    }

    #[tokio::test]
    async fn ranges_of_memory_and_file() {
        let file = || {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(b"0123456789").expect("write");
            in_file(file)
        };
        for make in [memory as fn() -> BodyContent, file] {
            assert_eq!(get(&[], make()).await, (200, "0123456789".into()));
            assert_eq!(
                get(&[("range", "bytes=2-4")], make()).await,
                (206, "234".into())
            );
            assert_eq!(
                get(&[("range", "bytes=-2")], make()).await,
                (206, "89".into())
            );
            assert_eq!(get(&[("range", "bytes=5-2")], make()).await.0, 416);
            assert_eq!(
                get(&[("range", "bytes=5-"), ("if-range", "\"other\"")], make())
                    .await
                    .0,
                200
            );
            for (date, status) in [("37", 206), ("38", 200)] {
                let date = format!("Sun, 06 Nov 1994 08:49:{date} GMT");
                let pairs = [("range", "bytes=5-"), ("if-range", date.as_str())];
                assert_eq!(get(&pairs, make()).await.0, status, "{date}");
            }
            let (status, body) = get(&[("range", "bytes=0-1,8-9")], make()).await;
            assert_eq!(status, 206);
            assert!(
                body.contains("bytes 0-1/10\r\n\r\n01\r\n--") && body.contains("\r\n\r\n89\r\n--"),
                "{body}"
            );
        }
    }

    #[tokio::test]
    async fn a_short_file_breaks_the_body() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        let content = in_file(tempfile::tempfile().expect("file"));
        let wanted = (Wanted::All, RangeLeave::default());
        let response = answer(wanted, &digest, "text/plain", content);
        assert!(
            axum::body::to_bytes(response.into_body(), 100)
                .await
                .is_err()
        );
    }

    #[test]
    fn entity_tags() {
        let digest = Digest::of(Algorithm::Sha256, b"");
        for yes in [
            etag(&digest),
            format!("W/{}", etag(&digest)),
            format!("\"x\", {}", etag(&digest)),
            "*".into(),
        ] {
            assert!(
                not_modified(&headers(&[("if-none-match", &yes)]), &digest),
                "{yes}"
            );
        }
        assert!(!not_modified(
            &headers(&[("if-none-match", "\"x\"")]),
            &digest
        ));
    }
}
