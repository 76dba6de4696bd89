//! Certificates: the local CA and its leaf, one's own certificate, renewal, reload, the TLS handshake; and which ones of other
//! servers are trusted.
//! Owns DIR/tls and the crates rustls, tokio-rustls and rcgen; speaks no HTTP and knows no configuration.
//!
//! `ca` has the local CA.

mod ca;
mod error;
mod files;
mod greet;
mod inspect;
mod machine;
mod outward;
mod own;
mod read_ahead;
mod state;

pub use error::{TlsError, TlsErrorKind};
pub use greet::greet;
pub use outward::outward;
pub use own::OwnPem;
pub use read_ahead::ReadAhead;

use arc_swap::ArcSwap;
use ca::{constraints, issue, local, trust};
use error::NEW_CA;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ProducesTickets;
use state::{InForce, load};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What to serve with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// DIR/tls: ca.pem, ca.key, leaf.pem (leaf, then CA), leaf.key.
    pub dir: PathBuf,
    /// Names and addresses for the leaf, beside those of the machine.
    pub names: Vec<String>,
    /// One's own certificate chain and key, PEM files, in place of the local CA.
    pub own: Option<(PathBuf, PathBuf)>,
    /// A new CA may sign only for private addresses and for the names and addresses that this machine has by then; else for
    /// everything. A CA that is there stays as it is.
    pub constrained: bool,
    /// What the two files held when this process could read them; see [`OwnPem`].
    pub given: Option<OwnPem>,
    /// How HTTP/2 is offered.
    pub http2: Http2,
}

/// How HTTP/2 is offered. The server's order decides: the first of its own protocols that the client offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Http2 {
    /// h2 before http/1.1.
    Prefer,
    /// http/1.1 before h2.
    Allow,
    /// http/1.1 only.
    Off,
}

impl Http2 {
    fn protocols(self) -> Vec<Vec<u8>> {
        let (one, two) = (b"http/1.1".to_vec(), b"h2".to_vec());
        match self {
            Self::Prefer => vec![two, one],
            Self::Allow => vec![one, two],
            Self::Off => vec![one],
        }
    }
}

/// A connection after its handshake.
pub type TlsStream = tokio_rustls::server::TlsStream<ReadAhead<tokio::net::TcpStream>>;

/// Certificates in force; cheap to clone. New connections take a renewed certificate, running ones keep theirs.
#[derive(Clone)]
pub struct Tls {
    inner: Arc<Inner>,
}

struct Inner {
    /// Locked while files are read or made, so that two refreshes never write at once.
    options: Mutex<TlsOptions>,
    state: ArcSwap<InForce>,
    provider: Arc<CryptoProvider>,
    /// Outlives a change of certificate, so that clients resume their sessions.
    tickets: Arc<dyn ProducesTickets>,
}

impl Tls {
    /// Makes what is missing (CA, leaf), renews what is due, loads and checks. Files that cannot be used are an error and stay.
    pub fn open(options: TlsOptions) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let tickets = aws_lc_rs::Ticketer::new().map_err(|e| TlsError::Make(e.to_string()))?;
        let state = load(&options, &provider, &tickets)?;
        Ok(Self {
            inner: Arc::new(Inner {
                options: Mutex::new(options),
                state: ArcSwap::from_pointee(state),
                provider,
                tickets,
            }),
        })
    }

    /// Reads the files again, renews if names or addresses changed or expiry is near; true if the certificate changed.
    /// After an error the old certificate stays in force. Blocks on files: call it off the async threads, at SIGHUP and some times a day.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        let options = self.options();
        self.swap(&options)
    }

    /// As [`Tls::refresh`], with other options from now on; after an error the old ones stay.
    pub fn reconfigure(&self, new: TlsOptions) -> Result<bool, TlsError> {
        let mut options = self.options();
        let changed = self.swap(&new)?;
        *options = new;
        Ok(changed)
    }

    fn options(&self) -> std::sync::MutexGuard<'_, TlsOptions> {
        let lock = self.inner.options.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }

    fn swap(&self, options: &TlsOptions) -> Result<bool, TlsError> {
        let new = load(options, &self.inner.provider, &self.inner.tickets)?;
        let old = self.inner.state.load();
        let changed = old.chain != new.chain;
        if changed || old.http2 != new.http2 || old.warnings != new.warnings {
            self.inner.state.store(Arc::new(new));
        }
        Ok(changed)
    }

    /// The CA's certificate, PEM; `None` with one's own certificate.
    pub fn ca_pem(&self) -> Option<String> {
        self.inner.state.load().ca_pem.clone()
    }

    /// SHA-256 fingerprint `AA:BB:..` of the CA, or of one's own certificate.
    pub fn fingerprint(&self) -> String {
        self.inner.state.load().fingerprint.clone()
    }

    /// Host names (each with all under it) and networks that the CA may sign for; `None` if it may sign for any, or if the
    /// certificate is one's own.
    pub fn ca_permits(&self) -> Option<Vec<String>> {
        let state = self.inner.state.load();
        let found = state.constraints.as_ref()?;
        let nets = found.nets().iter().map(constraints::Net::text);
        Some(found.names().iter().cloned().chain(nets).collect())
    }

    /// Host names and addresses in the certificate.
    pub fn names(&self) -> Vec<String> {
        self.inner.state.load().names.clone()
    }

    /// Things to tell people at start and after a refresh, such as a certificate of their own that is about to expire.
    pub fn warnings(&self) -> Vec<String> {
        self.inner.state.load().warnings.clone()
    }

    /// The CA, its fingerprint and how docker, podman, skopeo, containerd, apt, dnf and the system are told to trust it.
    /// `host` and `port` are what clients type; an IPv6 address may come with or without brackets.
    pub fn trust_text(&self, host: &str, port: u16) -> String {
        let state = self.inner.state.load();
        match &state.ca_pem {
            Some(ca) => trust::text(
                ca,
                &state.fingerprint,
                state.constraints.as_ref(),
                (host, port),
            ),
            None => trust::own_text(&state.fingerprint),
        }
    }

    /// The TLS handshake; the stream and whether HTTP/2 was negotiated. No time limit of its own: the caller sets one.
    pub async fn accept(&self, tcp: tokio::net::TcpStream) -> io::Result<(TlsStream, bool)> {
        let acceptor = self.inner.state.load().acceptor.clone();
        let stream = acceptor.accept(ReadAhead::new(tcp)).await?;
        let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((stream, h2))
    }
}

/// Sets the process-wide cryptography. Must be called first in `main`; more calls do nothing.
pub fn install_provider() {
    // An error only says that one is installed, which is what was wanted.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// A new P-256 key in PKCS#8 PEM, for signing tokens.
pub fn new_es256_key() -> Result<String, TlsError> {
    issue::new_key()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the test makes files of its own")]
mod tests;
