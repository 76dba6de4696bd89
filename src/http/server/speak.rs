//! What is spoken on one connection: HTTP/1.1 or HTTP/2, chosen beforehand, as detecting it from the first bytes has no
//! time limit.
//!
//! Owns clocks and buffers of connections.

use crate::http::caller::origin::Peer;
use crate::http::server::bare::Bare;
use crate::http::server::connections::{Link, Use};
use crate::http::server::sending::sendfile::{Outbox, Sending};
use crate::http::server::write_timeout::WriteTimeout;
use crate::http::{State, router};
use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

/// The longest request head, and what HTTP/1.1 holds of a connection's bytes, each way.
const BUFFER: usize = 64 << 10;
/// As [`BUFFER`], for the first [`WIDE_ONES`] connections: a large body comes with a quarter of the calls.
const WIDE_BUFFER: usize = 256 << 10;
/// Connections of each protocol that may hold more; those beyond have [`BUFFER`].
const WIDE_ONES: usize = 32;
/// What the first [`WIDE_ONES`] of HTTP/2 may have on the way to us: taken in before anybody asks for it, since HTTP/2
/// promises room beforehand.
const WIDE_WINDOW: u32 = 1 << 20;
/// How often clocks of HTTP/2 connections are looked at.
const TICK: Duration = Duration::from_secs(5);

/// Speaks with clients.
pub struct Speaker {
    state: Arc<State>,
    router: Router,
    idle: Duration,
    stop: CancellationToken,
    /// Connections of each protocol that are open.
    http1: AtomicUsize,
    http2: AtomicUsize,
}

/// Counts a connection while it lives.
struct Open<'a> {
    count: &'a AtomicUsize,
    /// It is among the first.
    wide: bool,
}

impl<'a> Open<'a> {
    fn count(count: &'a AtomicUsize) -> Self {
        let before = count.fetch_add(1, Ordering::Relaxed);
        Self {
            count,
            wide: before < WIDE_ONES,
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Speaker {
    /// Once `stop` is called, connections take no more requests.
    pub fn new(state: Arc<State>, stop: CancellationToken) -> Self {
        Self {
            router: router(Arc::clone(&state)),
            idle: Duration::from_millis(state.app.config.load().serve.idle_ms),
            state,
            stop,
            http1: AtomicUsize::new(0),
            http2: AtomicUsize::new(0),
        }
    }

    /// The longest time in which a client takes nothing.
    fn limit(&self) -> Duration {
        Duration::from_secs(self.state.app.config.load().serve.progress_seconds.max(1))
    }

    /// HTTP/1.1 until its end, without TLS: parts of files need not come through here.
    pub async fn plain(&self, tcp: TcpStream, peer: Peer, link: &Arc<Link>) {
        if !self.state.app.config.load().serve.sendfile {
            return self.speak(tcp, None, peer, link).await;
        }
        let (io, outbox) = Sending::new(tcp);
        self.speak(io, Some(outbox), peer, link).await;
    }

    /// HTTP/1.1 until its end.
    pub async fn http1<T>(&self, io: T, peer: Peer, link: &Arc<Link>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        self.speak(io, None, peer, link).await;
    }

    async fn speak<T>(&self, io: T, outbox: Option<Outbox>, peer: Peer, link: &Arc<Link>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = Open::count(&self.http1);
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            // From the end of the answer before, or the connection's begin, to the end of the next head.
            .header_read_timeout(self.idle)
            .max_header_size(BUFFER)
            .max_buf_size(if open.wide { WIDE_BUFFER } else { BUFFER });
        let io = Bare::new(WriteTimeout::new(io, self.limit()), Arc::clone(link));
        let io = TokioIo::new(io);
        let service = service_fn(|request| self.answer(request, outbox.as_ref(), peer, link));
        let mut serving = pin!(builder.serve_connection(io, service));
        tokio::select! {
            result = serving.as_mut() => return self.ended(peer, result),
            () = self.stop.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        self.ended(peer, serving.await);
    }

    /// HTTP/2 until its end. HTTP/1.1 has clocks of its own; pings keep an HTTP/2 connection open that is of no use to
    /// anybody.
    pub async fn http2<T>(&self, io: T, peer: Peer, link: &Arc<Link>)
    where
        T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let open = Open::count(&self.http2);
        let limit = self.limit();
        let window = if open.wide {
            WIDE_WINDOW
        } else {
            BUFFER as u32
        };
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(window)
            .initial_connection_window_size(window)
            .max_frame_size(BUFFER as u32)
            .max_send_buf_size(4 * BUFFER)
            .max_concurrent_streams(250)
            // Opened and reset at once, or made to be reset by us: so many may wait to be dealt with.
            .max_pending_accept_reset_streams(20)
            .max_local_error_reset_streams(100)
            // CONTINUATION frames end with it.
            .max_header_list_size(BUFFER as u32)
            .keep_alive_interval(Duration::from_secs(30));
        let io = TokioIo::new(WriteTimeout::new(io, limit));
        let service = service_fn(|request| self.answer(request, None, peer, link));
        let mut serving = pin!(builder.serve_connection(io, service));
        let mut told = false;
        let mut tick = interval(TICK.min(self.idle));
        loop {
            tokio::select! {
                result = serving.as_mut() => return self.ended(peer, result),
                () = self.stop.cancelled(), if !told => {
                    told = true;
                    serving.as_mut().graceful_shutdown();
                }
                _ = tick.tick() => {
                    let still = link.still();
                    if link.is_waiting() && still > limit + self.idle {
                        return;
                    }
                    if link.is_idle() && still > self.idle && !told {
                        told = true;
                        serving.as_mut().graceful_shutdown();
                    }
                }
            }
        }
    }

    /// Hands a request to the router with what it must know of its connection.
    fn answer(
        &self,
        request: Request<Incoming>,
        outbox: Option<&Outbox>,
        peer: Peer,
        link: &Arc<Link>,
    ) -> impl Future<Output = Result<Response<Body>, Infallible>> + Send + use<> {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        if let Some(outbox) = outbox {
            request.extensions_mut().insert(outbox.clone());
        }
        request.extensions_mut().insert(Arc::new(Use::begin(link)));
        self.router.clone().oneshot(request)
    }

    fn ended(&self, peer: Peer, result: hyper::Result<()>) {
        if let Err(error) = result
            && let Some(left_out) = self.state.trouble(peer)
        {
            tracing::debug!(peer = %peer.addr, %error, left_out, "connection ended");
        }
    }
}
