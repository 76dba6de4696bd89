//! Bodies of answers: whole, in ranges, not modified (RFC 9110 sections 13 and 14), and files streamed in large pieces.
//!
//! A read error in the middle breaks the body, so that the client sees a broken connection and never a short success.

use super::error::Fail;
use crate::types::{ByteRange, Digest, RangeError, Span};
use axum::body::{Body, Bytes};
use axum::http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, IF_NONE_MATCH, IF_RANGE,
    RANGE,
};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body::{Frame, SizeHint};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::task::JoinHandle;

/// One read: large enough that the hop to a blocking thread does not show.
const CHUNK: u64 = 256 * 1024;
/// Chunks of that size that all answers together may hold; those that find none left get along with small ones, one
/// at a time. So clients that take nothing cost little, and never stop others.
const CHUNKS: usize = 96;
/// A small chunk.
const SMALL: u64 = 16 * 1024;
static SENDING: Semaphore = Semaphore::const_new(CHUNKS);

/// Bytes of a file on their way, and the leave to hold so many.
struct Held {
    bytes: Vec<u8>,
    _leave: Option<SemaphorePermit<'static>>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Bytes to answer with.
pub enum Content {
    /// In memory.
    Bytes(Bytes),
    /// In a file of `.1` bytes.
    File(File, u64),
}

impl Content {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, len) => *len,
        }
    }
}

/// The entity tag of content: its digest in quotes.
pub fn etag(digest: &Digest) -> String {
    format!("\"{digest}\"")
}

/// Whether `If-None-Match` names this content: then 304 is the answer.
pub fn not_modified(headers: &HeaderMap, digest: &Digest) -> bool {
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

/// 200, 206 or 416 for content with this digest, as `Range` and `If-Range` ask.
pub fn respond(
    headers: &HeaderMap,
    digest: &Digest,
    kind: &str,
    content: Content,
) -> Result<Response<Body>, Fail> {
    let total = content.len();
    let Some(spans) = wanted(headers, digest, total)? else {
        let mut response = Response::new(whole(content));
        describe(&mut response, digest, kind, total);
        return Ok(response);
    };
    let mut response = match spans.as_slice() {
        [span] => {
            let mut response = Response::new(pieces(content, [Piece::Span(*span)].into()));
            describe(&mut response, digest, kind, span.len);
            put(&mut response, CONTENT_RANGE, &content_range(*span, total));
            response
        }
        spans => {
            let boundary = format!("dryport-{:.24}", digest.hex());
            let (parts, len) = multipart(spans, kind, total, &boundary);
            let mut response = Response::new(pieces(content, parts));
            describe(
                &mut response,
                digest,
                &format!("multipart/byteranges; boundary={boundary}"),
                len,
            );
            response
        }
    };
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    Ok(response)
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

fn content_range(span: Span, total: u64) -> String {
    format!("bytes {}-{}/{total}", span.start, span.start + span.len - 1)
}

/// The spans that were asked for; `None`: all of it.
fn wanted(headers: &HeaderMap, digest: &Digest, total: u64) -> Result<Option<Vec<Span>>, Fail> {
    let Some(range) = headers.get(RANGE).and_then(|v| v.to_str().ok()) else {
        return Ok(None);
    };
    if headers
        .get(IF_RANGE)
        .is_some_and(|v| v.as_bytes() != etag(digest).as_bytes())
    {
        return Ok(None);
    }
    match ByteRange::parse(range).and_then(|parts| ByteRange::resolve(&parts, total)) {
        Ok(spans) => Ok(Some(spans)),
        Err(RangeError::Syntax) => Ok(None),
        Err(error @ RangeError::Unsatisfiable) => {
            let fail = Fail::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "SIZE_INVALID",
                error.to_string(),
            );
            Err(fail.with(CONTENT_RANGE, format!("bytes */{total}")))
        }
    }
}

/// The pieces of a multipart/byteranges body and their length.
fn multipart(spans: &[Span], kind: &str, total: u64, boundary: &str) -> (VecDeque<Piece>, u64) {
    let mut parts = VecDeque::new();
    let mut len = 0;
    for (i, span) in spans.iter().enumerate() {
        let start = if i == 0 { "" } else { "\r\n" };
        let range = content_range(*span, total);
        let head = format!(
            "{start}--{boundary}\r\nContent-Type: {kind}\r\nContent-Range: {range}\r\n\r\n"
        );
        len += head.len() as u64 + span.len;
        parts.push_back(Piece::Text(head.into()));
        parts.push_back(Piece::Span(*span));
    }
    let end = format!("\r\n--{boundary}--\r\n");
    len += end.len() as u64;
    parts.push_back(Piece::Text(end.into()));
    (parts, len)
}

fn whole(content: Content) -> Body {
    match content {
        Content::Bytes(bytes) => Body::from(bytes),
        Content::File(_, 0) => Body::empty(),
        Content::File(file, len) => pieces(
            Content::File(file, len),
            [Piece::Span(Span { start: 0, len })].into(),
        ),
    }
}

fn pieces(content: Content, parts: VecDeque<Piece>) -> Body {
    if let (Content::Bytes(bytes), 1, Some(Piece::Span(span))) =
        (&content, parts.len(), parts.front())
    {
        return Body::from(slice(bytes, *span));
    }
    let left = parts.iter().map(Piece::len).sum();
    let content = match content {
        Content::Bytes(bytes) => Source::Bytes(bytes),
        Content::File(file, _) => Source::File(Arc::new(file)),
    };
    Body::new(Pieces {
        content,
        parts,
        read: None,
        left,
    })
}

/// One piece of a body.
enum Piece {
    /// Multipart framing.
    Text(Bytes),
    /// A part of the content.
    Span(Span),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Span(span) => span.len,
        }
    }
}

enum Source {
    Bytes(Bytes),
    File(Arc<File>),
}

fn slice(bytes: &Bytes, span: Span) -> Bytes {
    let end = (span.start + span.len).min(bytes.len() as u64) as usize;
    bytes.slice((span.start as usize).min(end)..end)
}

/// A body of several pieces. The next chunk of a file is read while the last one is being sent.
struct Pieces {
    content: Source,
    parts: VecDeque<Piece>,
    read: Option<JoinHandle<io::Result<Bytes>>>,
    left: u64,
}

impl Pieces {
    /// Starts reading the next chunk, if a span of a file comes next. `early`: nobody has asked for it yet.
    fn ahead(&mut self, early: bool) {
        if self.read.is_some() {
            return;
        }
        let (Source::File(file), Some(Piece::Span(span))) = (&self.content, self.parts.front_mut())
        else {
            return;
        };
        // The span's end is small without leave, too, and needs none.
        let leave = (span.len > SMALL)
            .then(|| SENDING.try_acquire().ok())
            .flatten();
        if early && leave.is_none() {
            return;
        }
        let most = if leave.is_some() { CHUNK } else { SMALL };
        let (start, len) = (span.start, span.len.min(most));
        span.start += len;
        span.len -= len;
        if span.len == 0 {
            self.parts.pop_front();
        }
        let file = Arc::clone(file);
        // Taken here, where it is given back, too: the allocator would keep something for each of the blocking threads.
        let mut bytes = Vec::with_capacity(len as usize);
        self.read = Some(tokio::task::spawn_blocking(move || {
            bytes.resize(len as usize, 0);
            file.read_exact_at(&mut bytes, start)?;
            Ok(Bytes::from_owner(Held {
                bytes,
                _leave: leave,
            }))
        }));
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        this.ahead(false);
        let data = if let Some(read) = this.read.as_mut() {
            let chunk = ready!(Pin::new(read).poll(cx));
            this.read = None;
            match chunk.map_err(io::Error::other).flatten() {
                Ok(chunk) => chunk,
                Err(error) => {
                    tracing::error!(%error, "reading a content file failed while it was being sent");
                    this.parts.clear();
                    return Poll::Ready(Some(Err(error)));
                }
            }
        } else {
            match (this.parts.pop_front(), &this.content) {
                (None, _) => return Poll::Ready(None),
                (Some(Piece::Text(text)), _) => text,
                (Some(Piece::Span(span)), Source::Bytes(bytes)) => slice(bytes, span),
                (Some(Piece::Span(_)), Source::File(_)) => {
                    return Poll::Ready(Some(Err(io::Error::other("lost span"))));
                }
            }
        };
        this.left = this.left.saturating_sub(data.len() as u64);
        this.ahead(true);
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_none() && self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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

    async fn get(pairs: &[(&'static str, &str)], content: Content) -> (u16, String) {
        let digest = Digest::of(Algorithm::Sha256, b"0123456789");
        match respond(&headers(pairs), &digest, "text/plain", content) {
            Ok(response) => {
                let status = response.status().as_u16();
                let len = response.headers()[CONTENT_LENGTH]
                    .to_str()
                    .expect("text")
                    .to_owned();
                let body = axum::body::to_bytes(response.into_body(), 1 << 20)
                    .await
                    .expect("body");
                assert_eq!(len, body.len().to_string());
                (status, String::from_utf8_lossy(&body).into_owned())
            }
            Err(fail) => (fail.status.as_u16(), format!("{:?}", fail.headers)),
        }
    }

    fn memory() -> Content {
        Content::Bytes(Bytes::from_static(b"0123456789"))
    }

    #[tokio::test]
    async fn ranges_of_memory_and_file() {
        let file = || {
            let mut file = tempfile::tempfile().expect("file");
            file.write_all(b"0123456789").expect("write");
            Content::File(file, 10)
        };
        for make in [memory as fn() -> Content, file] {
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
        let content = Content::File(tempfile::tempfile().expect("file"), 10);
        let response = respond(&HeaderMap::new(), &digest, "text/plain", content).expect("head");
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
