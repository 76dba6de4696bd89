//! The accept loop: TCP, TLS, HTTP/1.1 and HTTP/2, and a graceful end.
//!
//! Owns clocks and buffers of connections; how many there may be is `connections`'. `axum::serve` has no TLS, no head
//! timeout and no limit on draining.

use super::client::{Peer, is_trusted};
use super::connections::{Connections, Entry, Link, Use};
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
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

/// Connections at once; more wait in the kernel's queue where none is idle.
const CONNECTIONS: usize = 16_384;
/// Open files of a server without connections, about.
const OWN_FILES: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What HTTP/1.1 holds of a connection's bytes, each way; also the longest request head.
const BUFFER: usize = 64 << 10;
/// HTTP/2 connections that may each have [`WIDE`] bytes on the way to us; those beyond have [`BUFFER`].
const WIDE_ONES: usize = 32;
/// Taken in before anybody asks for it, since HTTP/2 promises room beforehand.
const WIDE: u32 = 1 << 20;
/// How often clocks of HTTP/2 connections are looked at.
const TICK: Duration = Duration::from_secs(5);
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
    connections: Arc<Connections>,
    /// HTTP/2 connections that are open.
    http2: AtomicUsize,
    idle: Duration,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Serves until `stop`, then lets requests in flight finish for at most the configured drain time.
pub async fn serve(app: App, listeners: Vec<Listener>, stop: CancellationToken) {
    let config = app.config.load_full();
    let most = connections();
    let state = State::new(app, most);
    let server = Arc::new(Server {
        router: router(Arc::clone(&state)),
        connections: Arc::clone(&state.connections),
        state,
        http2: AtomicUsize::new(0),
        idle: Duration::from_millis(config.idle_ms),
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

/// Tells of what happens to new connections; once a minute at most, however often it does.
#[derive(Default)]
struct Trouble {
    said: Option<Instant>,
    times: u64,
}

impl Trouble {
    fn failed(&mut self, error: &io::Error) {
        if let Some(times) = self.tell() {
            tracing::warn!(%error, times, "connections cannot be accepted; they wait");
        }
    }

    fn refused(&mut self, addr: SocketAddr) {
        if let Some(times) = self.tell() {
            let address = addr.ip();
            tracing::warn!(%address, times, "connections are closed: this address has all that limits.connections allows, and none is idle");
        }
    }

    /// How often it happened since it was told last, if it is to be told now.
    fn tell(&mut self) -> Option<u64> {
        self.times += 1;
        if self.said.is_some_and(|at| at.elapsed() <= TROUBLE_EVERY) {
            return None;
        }
        self.said = Some(Instant::now());
        Some(std::mem::take(&mut self.times))
    }
}

fn builder(idle: Duration, window: u32) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // From the end of the answer before, or the connection's begin, to the end of the next head.
        .header_read_timeout(idle)
        .max_buf_size(BUFFER);
    builder
        .http2()
        .timer(TokioTimer::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(window)
        .max_frame_size(BUFFER as u32)
        .max_send_buf_size(4 * BUFFER)
        .max_concurrent_streams(250)
        .keep_alive_interval(Duration::from_secs(30));
    builder
}

async fn accept(server: Arc<Server>, listener: Listener) {
    let (mut trouble, mut refusals) = (Trouble::default(), Trouble::default());
    loop {
        let accepted = tokio::select! {
            () = server.stop.cancelled() => return,
            accepted = listener.tcp.accept() => accepted,
        };
        let (tcp, addr) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                trouble.failed(&error);
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        let Some(entry) = enter(&server, addr) else {
            refusals.refused(addr);
            continue;
        };
        tokio::select! {
            () = server.stop.cancelled() => return,
            () = server.connections.room() => {}
        }
        let shared = Arc::clone(&server);
        let peer = Peer {
            addr,
            tls: listener.tls,
        };
        server.tasks.spawn(async move {
            tokio::select! {
                () = connection(&shared, tcp, peer, &entry.link) => {}
                () = entry.link.told_to_go() => {}
            }
        });
    }
}

/// Takes up a connection unless its address has its share.
fn enter(server: &Server, addr: SocketAddr) -> Option<Entry> {
    let config = server.state.app.config.load();
    let ip = addr.ip().to_canonical();
    // Many clients come through these.
    let gate = ip.is_loopback() || is_trusted(ip, &config.trusted_proxies);
    let most = if gate {
        usize::MAX
    } else {
        usize::try_from(config.connections_max).unwrap_or(usize::MAX)
    };
    server.connections.enter(ip, server.connections.share(most))
}

async fn connection(server: &Server, tcp: TcpStream, peer: Peer, link: &Arc<Link>) {
    let _ = tcp.set_nodelay(true);
    if !peer.tls {
        // Boxed, so that a connection holds no room for what it does not speak or speaks later.
        return Box::pin(speak(server, tcp, peer, link, false)).await;
    }
    let Some(tls) = &server.state.app.tls else {
        tracing::error!("a TLS listener without certificates: the connection is closed");
        return;
    };
    let handshake = tokio::select! {
        () = server.stop.cancelled() => return,
        handshake = timeout(HANDSHAKE, Box::pin(tls.accept(tcp))) => handshake,
    };
    match handshake {
        Ok(Ok((stream, http2))) => {
            link.touch();
            Box::pin(speak(server, stream, peer, link, http2)).await;
        }
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

/// Counts an HTTP/2 connection while it lives.
struct Http2<'a>(&'a AtomicUsize);

impl<'a> Http2<'a> {
    /// Also how many bytes it may have on the way to us.
    fn open(count: &'a AtomicUsize) -> (Self, u32) {
        let before = count.fetch_add(1, Ordering::Relaxed);
        let window = if before < WIDE_ONES {
            WIDE
        } else {
            BUFFER as u32
        };
        (Self(count), window)
    }
}

impl Drop for Http2<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Speaks one protocol, chosen beforehand: detecting it from the first bytes has no time limit.
async fn speak<T>(server: &Server, io: T, peer: Peer, link: &Arc<Link>, http2: bool)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limit = Duration::from_secs(server.state.app.config.load().progress_seconds.max(1));
    let io = TokioIo::new(Progress::new(io, limit));
    let router = server.router.clone();
    let of = Arc::clone(link);
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::new(Use::begin(&of)));
        router.clone().oneshot(request)
    });
    let open = http2.then(|| Http2::open(&server.http2));
    let window = open.as_ref().map_or(WIDE, |(_, window)| *window);
    let builder = builder(server.idle, window);
    let builder = if http2 {
        builder.http2_only()
    } else {
        builder.http1_only()
    };
    let mut serving = pin!(builder.serve_connection(io, service));
    let mut told = false;
    let mut tick = interval(TICK.min(server.idle));
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
            // HTTP/1.1 has clocks of its own; pings keep an HTTP/2 connection open that is of no use to anybody.
            _ = tick.tick(), if http2 => {
                let still = link.still();
                if link.is_waiting() && still > limit + server.idle {
                    return;
                }
                if link.is_idle() && still > server.idle && !told {
                    told = true;
                    serving.as_mut().graceful_shutdown();
                }
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
