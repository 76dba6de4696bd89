//! Certificates: the local CA and its leaf, one's own certificate, renewal, reload, the TLS handshake.
//! Owns DIR/tls and the crates rustls, tokio-rustls and rcgen; speaks no HTTP and knows no configuration.

mod constraints;
mod files;
mod inspect;
mod issue;
mod local;
mod machine;
mod own;
mod read_ahead;
mod trust;

pub use own::OwnPem;
pub use read_ahead::ReadAhead;

use arc_swap::ArcSwap;
use constraints::Constraints;
use inspect::Facts;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Which kind of failure it was; the command line takes its exit code from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsErrorKind {
    /// A certificate or key that people gave, or that lies in DIR/tls, cannot be used.
    Unusable,
    /// A name that people gave, for which the CA may not sign.
    Outside,
    /// Reading or writing failed.
    Io,
    /// A library refused what should always work.
    Internal,
}

/// Why there is no certificate. The text says which file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds what cannot be used; it was left as it is.
    #[error("{} {why}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        why: String,
    },
    /// People named what lies outside the CA's name constraints.
    #[error(
        "tls.names holds {name}, for which the CA {} may not sign: clients would refuse the certificate. Take it out of tls.names, or make a new CA that may. {NEW_CA}",
        ca.display()
    )]
    Outside {
        /// As given, in small letters.
        name: String,
        /// The CA's certificate.
        ca: PathBuf,
    },
    /// Making a key or certificate failed.
    #[error("cannot make a key or certificate: {0}")]
    Make(String),
}

impl TlsError {
    /// The kind, for the exit code.
    pub fn kind(&self) -> TlsErrorKind {
        match self {
            Self::Read { .. } | Self::Write { .. } => TlsErrorKind::Io,
            Self::Broken { .. } => TlsErrorKind::Unusable,
            Self::Outside { .. } => TlsErrorKind::Outside,
            Self::Make(_) => TlsErrorKind::Internal,
        }
    }
}

/// How people come to a new CA.
const NEW_CA: &str = "To make a new CA, move ca.pem and ca.key away and start again; every client must then trust the new one, as it was told to trust the old one";

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
    state: ArcSwap<State>,
    provider: Arc<CryptoProvider>,
    /// Outlives a change of certificate, so that clients resume their sessions.
    tickets: Arc<dyn ProducesTickets>,
}

struct State {
    acceptor: tokio_rustls::TlsAcceptor,
    http2: Http2,
    chain: Vec<CertificateDer<'static>>,
    ca_pem: Option<String>,
    /// What the CA may sign for, if not for everything.
    constraints: Option<Constraints>,
    fingerprint: String,
    names: Vec<String>,
    warnings: Vec<String>,
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

/// PEM texts and what is known of them before they are checked.
struct Source {
    chain_path: PathBuf,
    key_path: PathBuf,
    chain: String,
    key: String,
    ca: Option<String>,
    warnings: Vec<String>,
}

fn source(options: &TlsOptions) -> Result<Source, TlsError> {
    if let Some((cert, key)) = &options.own {
        let (pem, warnings) = own::current(cert, key, options.given.as_ref())?;
        return Ok(Source {
            chain: pem.chain,
            key: pem.key,
            chain_path: cert.clone(),
            key_path: key.clone(),
            ca: None,
            warnings,
        });
    }
    let made = local::ensure(options)?;
    Ok(Source {
        chain: made.chain,
        key: made.key,
        chain_path: options.dir.join("leaf.pem"),
        key_path: options.dir.join("leaf.key"),
        ca: Some(made.ca),
        warnings: made.warnings,
    })
}

fn load(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<State, TlsError> {
    let source = source(options)?;
    let path = &source.chain_path;
    let chain = files::chain(path, &source.chain)?;
    let key = files::key(&source.key_path, &source.key)?;
    let certified = CertifiedKey::from_der(chain.clone(), key, provider).map_err(|e| {
        let why = format!(
            "and {} do not work together: {e}",
            source.key_path.display()
        );
        files::broken(path, why)
    })?;
    let facts = chain.first().and_then(|leaf| Facts::of(leaf));
    let facts =
        facts.ok_or_else(|| files::broken(path, "holds a certificate that cannot be read"))?;
    let mut warnings = source.warnings;
    if source.ca.is_none() {
        warnings.extend(doubts(path, &facts));
    }
    let shown = match &source.ca {
        Some(ca) => files::chain(&options.dir.join("ca.pem"), ca)?,
        None => chain.clone(),
    };
    let ca_facts = source.ca.as_ref().and(shown.first());
    let ca_facts = ca_facts.and_then(|der| Facts::of(der));
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok(State {
        acceptor: acceptor(options.http2, resolver, provider, tickets)?,
        http2: options.http2,
        fingerprint: shown
            .first()
            .map(|der| inspect::fingerprint(der))
            .unwrap_or_default(),
        chain,
        constraints: ca_facts.and_then(|ca| ca.constraints),
        ca_pem: source.ca,
        names: facts.names,
        warnings,
    })
}

fn acceptor(
    http2: Http2,
    resolver: Arc<dyn ResolvesServerCert>,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<tokio_rustls::TlsAcceptor, TlsError> {
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| TlsError::Make(e.to_string()))?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = http2.protocols();
    config.ticketer = Arc::clone(tickets);
    Ok(Arc::new(config).into())
}

/// What clients may dislike about one's own certificate.
fn doubts(path: &Path, facts: &Facts) -> Vec<String> {
    let mut doubts = Vec::new();
    let file = path.display();
    match facts.days_left() {
        ..0 => doubts.push(format!(
            "the certificate {file} has expired: clients will refuse it; replace it and send SIGHUP"
        )),
        days @ 0..30 => {
            let when = match days {
                0 => "today".to_owned(),
                1 => "in 1 day".to_owned(),
                _ => format!("in {days} days"),
            };
            doubts.push(format!(
                "the certificate {file} expires {when}; replace it and send SIGHUP"
            ));
        }
        _ => {}
    }
    if facts.not_before > inspect::now() {
        doubts.push(format!(
            "the certificate {file} is not valid yet; check it and this machine's clock"
        ));
    }
    if facts.names.is_empty() {
        doubts.push(format!(
            "the certificate {file} has no subject alternative names: most clients will refuse it"
        ));
    }
    doubts
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
