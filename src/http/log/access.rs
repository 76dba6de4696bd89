//! Request ids, and one access line a request, written when the answer's body has ended (or was given up).
//!
//! A line never holds credentials nor a query: tokens travel in both.

use crate::auth::net;
use crate::http::State;
use crate::http::metrics::{RequestClass, RequestDone};
use crate::http::server::connections::Use;
use crate::http::server::limits::ClientPlace;
use crate::http::server::limits::open_files::FileLeave;
use crate::telemetry::ACCESS;
use axum::body::{Body, Bytes};
use http_body::{Frame, SizeHint};
use std::borrow::Cow;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Instant;

/// Makes request ids: unlike in every process, never the same twice in one.
pub struct Ids {
    base: u64,
    next: AtomicU64,
}

impl Default for Ids {
    fn default() -> Self {
        // Not a secret: where the system has no randomness, ids repeat after a restart and nothing else happens.
        Self {
            base: getrandom::u64().unwrap_or_else(|_| crate::types::wall_ms()),
            next: AtomicU64::new(0),
        }
    }
}

impl Ids {
    /// The next id.
    pub fn next(&self) -> RequestId {
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        // An odd factor permutes the numbers, so ids do not tell how busy the server is.
        RequestId(
            self.base
                .wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        )
    }
}

/// A request's id: 16 hexadecimal characters, in each answer, error and log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(u64);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// What the line of one request will say; writes it when dropped.
pub struct AccessRecord {
    /// The server, for its metrics and the threshold of slow requests.
    pub state: Arc<State>,
    /// The request's use of its connection, and its place among those of its client, until the answer is through.
    pub used: Option<Arc<Use>>,
    /// See `used`.
    pub place: Option<ClientPlace>,
    /// See `used`: its leave to have a file open.
    pub file: Option<FileLeave>,
    /// The request.
    pub id: RequestId,
    /// When its head had come.
    pub start: Instant,
    /// Method, cut where it is long.
    pub method: Cow<'static, str>,
    /// Path without query, cut where it is long.
    pub path: String,
    /// Kind of route.
    pub class: RequestClass,
    /// The name of the `Action`.
    pub action: &'static str,
    /// User name; `-` for anonymous.
    pub who: String,
    /// The client's address.
    pub ip: std::net::IpAddr,
    /// Status; 0 until there is one.
    pub status: u16,
    /// Bytes of the request body.
    pub bytes_in: u64,
    /// Bytes of the answer's body.
    pub bytes_out: u64,
}

impl Drop for AccessRecord {
    fn drop(&mut self) {
        let time = self.start.elapsed();
        let done = RequestDone {
            class: self.class,
            status: self.status,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            time,
        };
        self.state.metrics.record(done);
        let ms = time.as_millis() as u64;
        let logged = self.line(ms);
        let moved = self.bytes_in + self.bytes_out;
        // Large transfers take as long as the network needs; only what should be quick is called slow.
        if logged && ms >= self.state.app.config.load().log.slow_ms && moved < 1 << 20 {
            tracing::warn!(action = self.action, path = self.path, ms, request = %self.id, "slow request");
        }
    }
}

impl AccessRecord {
    /// Writes the access line, unless it is of a stranger who is refused again and again; whether it did.
    fn line(&self, ms: u64) -> bool {
        let now = Instant::now();
        self.state.refusals.tell(now);
        let refused = self.status == 0 || self.status >= 400;
        let mut left_out = None;
        if refused && self.who == "-" {
            let Some(before) = self.state.refusals.line(net(self.ip), now) else {
                self.state.metrics.left_out.fetch_add(1, Ordering::Relaxed);
                return false;
            };
            left_out = Some(before).filter(|n| *n > 0);
        }
        tracing::info!(
            target: ACCESS,
            who = self.who,
            from = %self.ip,
            action = self.action,
            method = &*self.method,
            path = self.path,
            status = self.status,
            bytes_in = self.bytes_in,
            bytes_out = self.bytes_out,
            ms,
            request = %self.id,
            left_out,
        );
        true
    }
}

/// An answer's body that counts itself into its record.
pub struct CountedBody {
    body: Body,
    record: AccessRecord,
}

impl CountedBody {
    /// Wraps the body; the record is written when the body is dropped.
    pub fn wrap(body: Body, record: AccessRecord) -> Body {
        Body::new(Self { body, record })
    }
}

impl http_body::Body for CountedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let frame = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
            Some(Ok(frame)) => frame,
            other => return Poll::Ready(other),
        };
        this.record.bytes_out += frame.data_ref().map_or(0, |d| d.len() as u64);
        if let Some(used) = &this.record.used {
            used.touch();
        }
        if !this.body.is_end_stream() {
            return Poll::Ready(Some(Ok(frame)));
        }
        // The connection drops the body with its last frame, which then may wait for the client.
        let record = &mut this.record;
        let until_sent = (record.file.take(), record.used.take(), record.place.take());
        let last = frame.map_data(|bytes| {
            Bytes::from_owner(Last {
                bytes,
                _until_sent: until_sent,
            })
        });
        Poll::Ready(Some(Ok(last)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // An exact 0 would become `Content-Length: 0`, which on a 304 speaks of the content that it leaves out.
        if self.record.status == 304 {
            SizeHint::default()
        } else {
            self.body.size_hint()
        }
    }
}

/// The last frame of an answer, and what the request has until that is sent.
struct Last {
    bytes: Bytes,
    _until_sent: (Option<FileLeave>, Option<Arc<Use>>, Option<ClientPlace>),
}

impl AsRef<[u8]> for Last {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_differ() {
        let ids = Ids::default();
        let (a, b) = (ids.next(), ids.next());
        assert_ne!(a, b);
        assert_eq!(a.to_string().len(), 16);
    }
}
