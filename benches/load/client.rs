//! A client that costs little: HTTP/1.1 by hand over TCP or TLS, one connection kept open, bodies counted and thrown
//! away. What it measures is the server.

use std::io::{Error, ErrorKind, Result};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Bytes read in one call; more than a TLS record, so that large bodies take few calls.
const BUFFER: usize = 256 << 10;

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Where a server listens, and how it is spoken to.
#[derive(Clone)]
pub struct Endpoint {
    /// `HOST:PORT` for the request's head.
    pub host: String,
    addr: SocketAddr,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl Endpoint {
    /// Of `http://HOST[:PORT]` or `https://HOST[:PORT]`; an https one is checked against `ca` (PEM).
    pub fn new(url: &str, ca: Option<&Path>) -> Result<Self> {
        let url = url.trim_end_matches('/');
        let (secure, host) = match url.split_once("://") {
            Some(("http", host)) => (false, host),
            Some(("https", host)) => (true, host),
            _ => return Err(Error::other(format!("not an http or https URL: {url}"))),
        };
        if host.contains('/') {
            return Err(Error::other(format!(
                "{url}: only the root of a host can be measured"
            )));
        }
        let bare = host.rsplit_once(':').map_or(host, |(name, _)| name);
        let host = if bare == host {
            format!("{host}:{}", if secure { 443 } else { 80 })
        } else {
            host.to_owned()
        };
        let addr = host.to_socket_addrs()?.next();
        let addr = addr.ok_or_else(|| Error::other(format!("{host} has no address")))?;
        let tls = if secure {
            let name = ServerName::try_from(bare.to_owned()).map_err(Error::other)?;
            let ca = ca.ok_or_else(|| Error::other(format!("{url} wants --ca FILE")))?;
            Some((connector(ca)?, name))
        } else {
            None
        };
        Ok(Self { host, addr, tls })
    }
}

fn connector(ca: &Path) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(Error::other)? {
        let certificate = certificate.map_err(Error::other)?;
        roots.add(certificate).map_err(Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// An answer. Its body was read to the end.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    /// The head, as it came.
    pub head: String,
    /// The body, if it was asked for.
    pub body: Vec<u8>,
    /// The body's length.
    pub length: u64,
}

impl Answer {
    /// A header's value; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        header(&self.head, name)
    }
}

fn header<'a>(head: &'a str, name: &str) -> &'a str {
    let lines = head.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(n, _)| n.eq_ignore_ascii_case(name));
    values.next().map_or("", |(_, value)| value.trim())
}

/// One open connection.
pub struct Connection {
    io: Box<dyn Io>,
    buffer: Vec<u8>,
    from: usize,
    to: usize,
}

impl Connection {
    pub async fn open(at: &Endpoint) -> Result<Self> {
        let tcp = TcpStream::connect(at.addr).await?;
        tcp.set_nodelay(true)?;
        let io: Box<dyn Io> = match &at.tls {
            None => Box::new(tcp),
            Some((connector, name)) => Box::new(connector.connect(name.clone(), tcp).await?),
        };
        Ok(Self {
            io,
            buffer: vec![0; BUFFER],
            from: 0,
            to: 0,
        })
    }

    /// Sends a request (its head with the empty line, then these pieces) and reads the answer. `keep`: the body, too.
    pub async fn ask(&mut self, head: &[u8], body: &[&[u8]], keep: bool) -> Result<Answer> {
        self.io.write_all(head).await?;
        for piece in body {
            self.io.write_all(piece).await?;
        }
        self.io.flush().await?;
        let mut answer = self.head().await?;
        let mut kept = keep.then(Vec::new);
        if answer
            .header("transfer-encoding")
            .eq_ignore_ascii_case("chunked")
        {
            answer.length = self.chunks(&mut kept).await?;
        } else if !matches!(answer.status, 204 | 304) {
            let length = answer.header("content-length");
            answer.length = length
                .parse()
                .map_err(|_| Error::other(format!("no length in {}", answer.head)))?;
            self.take(answer.length, &mut kept).await?;
        }
        answer.body = kept.unwrap_or_default();
        Ok(answer)
    }

    async fn more(&mut self) -> Result<()> {
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        } else if self.to == self.buffer.len() {
            self.buffer.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let n = self.io.read(&mut self.buffer[self.to..]).await?;
        if n == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        self.to += n;
        Ok(())
    }

    /// Reads up to and with `end`, which it leaves out of the answer.
    async fn until(&mut self, end: &[u8]) -> Result<String> {
        loop {
            let seen = &self.buffer[self.from..self.to];
            if let Some(at) = seen.windows(end.len()).position(|w| w == end) {
                let text = String::from_utf8_lossy(&seen[..at]).into_owned();
                self.from += at + end.len();
                return Ok(text);
            }
            if seen.len() > 64 << 10 {
                return Err(Error::other("an endless head"));
            }
            self.more().await?;
        }
    }

    async fn head(&mut self) -> Result<Answer> {
        let head = self.until(b"\r\n\r\n").await?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        let status = status.ok_or_else(|| Error::other(format!("no status in {head}")))?;
        Ok(Answer {
            status,
            head,
            ..Answer::default()
        })
    }

    async fn take(&mut self, length: u64, kept: &mut Option<Vec<u8>>) -> Result<()> {
        let mut left = length;
        while left > 0 {
            if self.from == self.to {
                self.more().await?;
            }
            let n = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.to - self.from);
            if let Some(kept) = kept {
                kept.extend_from_slice(&self.buffer[self.from..self.from + n]);
            }
            self.from += n;
            left -= n as u64;
        }
        Ok(())
    }

    async fn chunks(&mut self, kept: &mut Option<Vec<u8>>) -> Result<u64> {
        let mut length = 0;
        loop {
            let line = self.until(b"\r\n").await?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(Error::other)?;
            self.take(size, kept).await?;
            self.until(b"\r\n").await?;
            if size == 0 {
                return Ok(length);
            }
            length += size;
        }
    }
}
