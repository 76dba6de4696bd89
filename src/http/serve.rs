//! The accept loop: TCP, TLS, HTTP/1.1 and HTTP/2, and a graceful end.
//!
//! Owns limits and clocks of connections. `axum::serve` has no TLS, no head timeout and no limit on draining.

use super::client::Peer;
use super::metrics::Metrics;
use super::progress::Progress;
use super::{State, router};
use crate::app::App;
use axum::body::Body;
use axum::http::Request;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 16_384;
/// Open files of a server without connections, about.
const OWN_FILES: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(30);
/// After a failed accept, mostly for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(50);
/// How often failed accepts are told of.
const TROUBLE_EVERY: Duration = Duration::from_mins(1);
const BACKLOG: u32 = 1024;

/// A bound socket and what is spoken on it.
pub struct Listener {
    /// The socket.
    pub tcp: TcpListener,
    /// TLS, else plain HTTP/1.1.
    pub tls: bool,
}

/// Binds an address. `[::]` takes IPv4 too, and becomes `0.0.0.0` where IPv6 is off.
pub fn bind(addr: SocketAddr) -> io::Result<TcpListener> {
    let bound = bind_one(addr);
    match (&bound, addr) {
        (Err(error), SocketAddr::V6(v6)) if v6.ip().is_unspecified() && no_ipv6(error) => {
            tracing::info!(
                port = addr.port(),
                "IPv6 is off on this machine: listening on 0.0.0.0"
            );
            bind_one(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port()))
        }
        _ => bound,
    }
}

fn no_ipv6(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let unsupported = [
        Errno::AFNOSUPPORT,
        Errno::ADDRNOTAVAIL,
        Errno::PROTONOSUPPORT,
    ];
    unsupported
        .iter()
        .any(|e| error.raw_os_error() == Some(e.raw_os_error()))
}

fn bind_one(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = if addr.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        let socket = TcpSocket::new_v6()?;
        // Said outright, as a machine may have another default.
        let only = matches!(addr, SocketAddr::V6(v6) if !v6.ip().is_unspecified());
        rustix::net::sockopt::set_ipv6_v6only(&socket, only)?;
        socket
    };
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// What the connections share.
struct Server {
    state: Arc<State>,
    router: axum::Router,
    builder: Builder<TokioExecutor>,
    permits: Arc<Semaphore>,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Serves until `stop`, then lets requests in flight finish for at most the configured drain time.
pub async fn serve(app: App, listeners: Vec<Listener>, stop: CancellationToken) {
    let config = app.config.load_full();
    let state = State::new(app);
    let server = Arc::new(Server {
        router: router(Arc::clone(&state)),
        state,
        builder: builder(),
        permits: Arc::new(Semaphore::new(connections())),
        tasks: TaskTracker::new(),
        stop,
    });
    let loops: Vec<_> = listeners
        .into_iter()
        .map(|l| tokio::spawn(accept(Arc::clone(&server), l)))
        .collect();
    for accepting in loops {
        if let Err(error) = accepting.await {
            tracing::error!(%error, "a listener ended");
        }
    }
    server.tasks.close();
    let drain = Duration::from_secs(config.drain_seconds);
    if timeout(drain, server.tasks.wait()).await.is_err() {
        let open = server.tasks.len();
        tracing::warn!(
            open,
            seconds = config.drain_seconds,
            "connections still open after the drain time are cut"
        );
    }
}

/// Connections that the limit of open files leaves room for: each may have a content file open, too, so that a client
/// waits in the queue rather than meet a server that can open nothing.
fn connections() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let possible = (files.saturating_sub(OWN_FILES) / 2).clamp(1, CONNECTIONS);
    if possible < CONNECTIONS / 32 {
        tracing::warn!(
            files,
            connections = possible,
            "the limit of open files is low: more connections than this wait (ulimit -n, LimitNOFILE)"
        );
    }
    possible
}

/// Tells that accepting fails; once a minute at most, however often it does.
#[derive(Default)]
struct Trouble {
    said: Option<Instant>,
    times: u64,
}

impl Trouble {
    fn failed(&mut self, error: &io::Error) {
        self.times += 1;
        if self.said.is_none_or(|at| at.elapsed() > TROUBLE_EVERY) {
            let times = std::mem::take(&mut self.times);
            tracing::warn!(%error, times, "connections cannot be accepted; they wait");
            self.said = Some(Instant::now());
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(1 << 20);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .max_frame_size(1 << 20)
        .max_send_buf_size(1 << 20)
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

async fn accept(server: Arc<Server>, listener: Listener) {
    let mut trouble = Trouble::default();
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => return,
            accepted = next(&server, &listener.tcp) => accepted,
        };
        match accepted {
            Ok((tcp, addr, permit)) => {
                let shared = Arc::clone(&server);
                let peer = Peer {
                    addr,
                    tls: listener.tls,
                };
                server.tasks.spawn(async move {
                    let _permit = permit;
                    let _open = Open::new(&shared.state.metrics);
                    connection(&shared, tcp, peer).await;
                });
            }
            Err(error) => {
                trouble.failed(&error);
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

type Accepted = (TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit);

async fn next(server: &Server, tcp: &TcpListener) -> io::Result<Accepted> {
    let permit = Arc::clone(&server.permits)
        .acquire_owned()
        .await
        .map_err(io::Error::other)?;
    let (stream, addr) = tcp.accept().await?;
    Ok((stream, addr, permit))
}

/// Counts a connection while it lives.
struct Open<'a>(&'a Metrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.connections.fetch_add(1, Ordering::Relaxed);
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn connection(server: &Server, tcp: TcpStream, peer: Peer) {
    let _ = tcp.set_nodelay(true);
    if !peer.tls {
        return speak(server, tcp, peer, false).await;
    }
    let Some(tls) = &server.state.app.tls else {
        tracing::error!("a TLS listener without certificates: the connection is closed");
        return;
    };
    let handshake = tokio::select! {
        () = server.stop.cancelled() => return,
        handshake = timeout(HANDSHAKE, tls.accept(tcp)) => handshake,
    };
    match handshake {
        Ok(Ok((stream, http2))) => speak(server, stream, peer, http2).await,
        failed => {
            server
                .state
                .metrics
                .handshakes_failed
                .fetch_add(1, Ordering::Relaxed);
            let error = match failed {
                Ok(Err(error)) => error.to_string(),
                _ => "no handshake in time".to_owned(),
            };
            tracing::debug!(peer = %peer.addr, error, "TLS handshake failed");
        }
    }
}

/// Speaks one protocol, chosen beforehand: detecting it from the first bytes has no time limit.
async fn speak<T>(server: &Server, io: T, peer: Peer, http2: bool)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = Duration::from_secs(server.state.app.config.load().progress_seconds.max(1));
    let io = TokioIo::new(Progress::new(io, limit));
    let router = server.router.clone();
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let builder = server.builder.clone();
    let builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut told = false;
    loop {
        tokio::select! {
            result = serving.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(peer = %peer.addr, %error, "connection ended");
                }
                return;
            }
            () = server.stop.cancelled(), if !told => {
                told = true;
                serving.as_mut().graceful_shutdown();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_default_address_takes_ipv4() {
        let listener = bind("[::]:0".parse().expect("address")).expect("bound");
        let port = listener.local_addr().expect("address").port();
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    }
}
