//! The accept loop: TCP, TLS, and a graceful end.
//!
//! How many connections there may be is `connections`', and what is spoken on one `speak`'s. `axum::serve` has no TLS, no
//! head timeout and no limit on draining.

use crate::app::App;
use crate::http::State;
use crate::http::caller::origin::{Peer, is_trusted};
use crate::http::server::connections::{ConnectionEntry, Connections, Link};
use crate::http::server::speak::Speaker;
use crate::tls::TlsStream;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; more wait in the kernel's queue where none is idle.
const CONNECTIONS: usize = 16_384;
/// Open files of a server without connections, about.
const OWN_FILES: usize = 32;
const HANDSHAKE: Duration = Duration::from_secs(10);
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
    connections: Arc<Connections>,
    speaker: Speaker,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// Serves until `stop`, then lets requests in flight finish for at most the configured drain time.
pub async fn serve(app: App, listeners: Vec<Listener>, stop: CancellationToken) {
    let config = app.config.load_full();
    let (most, files) = connections();
    let state = State::new(app, most, files);
    let server = Arc::new(Server {
        connections: Arc::clone(&state.connections),
        speaker: Speaker::new(Arc::clone(&state), stop.clone()),
        state,
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
    let drain = Duration::from_secs(config.serve.drain_seconds);
    if timeout(drain, server.tasks.wait()).await.is_err() {
        let open = server.tasks.len();
        tracing::warn!(
            open,
            seconds = config.serve.drain_seconds,
            "connections still open after the drain time are cut"
        );
    }
}

/// Connections that the limit of open files leaves room for: each may have a content file open, too, so that a client
/// waits in the queue rather than meet a server that can open nothing. And the files that connections with more than one
/// request at once may share: half of what is left, as uploads between two requests and the server itself have some open.
fn connections() -> (usize, usize) {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = limit.map_or(usize::MAX, |n| usize::try_from(n).unwrap_or(usize::MAX));
    let free = files.saturating_sub(OWN_FILES);
    let possible = (free / 5 * 2).clamp(1, CONNECTIONS);
    if possible < CONNECTIONS / 32 {
        tracing::warn!(
            files,
            connections = possible,
            "the limit of open files is low: more connections than this wait (ulimit -n, LimitNOFILE)"
        );
    }
    (possible, free.saturating_sub(2 * possible) / 2)
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
            () = server.connections.room(&entry.link) => {}
        }
        let shared = Arc::clone(&server);
        let peer = Peer {
            addr,
            tls: listener.tls,
            astray: false,
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
fn enter(server: &Server, addr: SocketAddr) -> Option<ConnectionEntry> {
    let config = server.state.app.config.load();
    let ip = addr.ip().to_canonical();
    // Many clients come through these.
    let gate = ip.is_loopback() || is_trusted(ip, &config.trusted_proxies);
    let most = if gate {
        usize::MAX
    } else {
        usize::try_from(config.limits.connections).unwrap_or(usize::MAX)
    };
    server.connections.enter(ip, server.connections.share(most))
}

/// What came to a port of HTTPS.
enum Begun {
    /// TLS, and whether HTTP/2 is spoken within.
    Tls(Box<TlsStream>, bool),
    /// Plain HTTP.
    Plain(TcpStream),
}

/// Whether the first byte is a letter, as that of every HTTP request: a TLS record never begins with one (RFC 8446
/// section 5.1). The byte stays where it is.
async fn is_plain(tcp: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    Ok(tcp.peek(&mut first).await? == 1 && first[0].is_ascii_alphabetic())
}

async fn connection(server: &Server, tcp: TcpStream, peer: Peer, link: &Arc<Link>) {
    let _ = tcp.set_nodelay(true);
    if !peer.tls {
        // Boxed, so that a connection holds no room for what it does not speak or speaks later.
        return Box::pin(server.speaker.plain(tcp, peer, link)).await;
    }
    let Some(tls) = &server.state.app.tls else {
        tracing::error!("a TLS listener without certificates: the connection is closed");
        return;
    };
    let handshake = Box::pin(async {
        Ok(if is_plain(&tcp).await? {
            Begun::Plain(tcp)
        } else {
            let (stream, http2) = tls.accept(tcp).await?;
            Begun::Tls(Box::new(stream), http2)
        })
    });
    let handshake = tokio::select! {
        () = server.stop.cancelled() => return,
        handshake = timeout(HANDSHAKE, handshake) => handshake,
    };
    match handshake {
        Ok(Ok(Begun::Tls(stream, true))) => {
            link.touch();
            Box::pin(server.speaker.http2(*stream, peer, link)).await;
        }
        Ok(Ok(Begun::Tls(stream, false))) => {
            link.touch();
            Box::pin(server.speaker.http1(*stream, peer, link)).await;
        }
        Ok(Ok(Begun::Plain(tcp))) => {
            link.touch();
            let peer = Peer {
                tls: false,
                astray: true,
                ..peer
            };
            Box::pin(server.speaker.http1(tcp, peer, link)).await;
        }
        failed => {
            server
                .state
                .metrics
                .handshakes_failed
                .fetch_add(1, Ordering::Relaxed);
            let Some(left_out) = server.state.trouble(peer) else {
                return;
            };
            let error = match failed {
                Ok(Err(error)) => io::Error::to_string(&error),
                _ => "no handshake in time".to_owned(),
            };
            tracing::debug!(peer = %peer.addr, error, left_out, "TLS handshake failed");
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
