//! The certificate in force: from files, or from the local CA, to what a handshake needs.

use super::constraints::Constraints;
use super::inspect::CertificateFacts;
use super::{Http2, TlsError, TlsOptions};
use super::{files, inspect, local, own};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::CertificateDer;
use rustls::server::{ProducesTickets, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is in force.
pub(super) struct InForce {
    pub acceptor: tokio_rustls::TlsAcceptor,
    pub http2: Http2,
    pub chain: Vec<CertificateDer<'static>>,
    pub ca_pem: Option<String>,
    /// What the CA may sign for, if not for everything.
    pub constraints: Option<Constraints>,
    pub fingerprint: String,
    pub names: Vec<String>,
    pub warnings: Vec<String>,
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

/// Makes what is missing, reads the files, and checks that they work together.
pub(super) fn load(
    options: &TlsOptions,
    provider: &Arc<CryptoProvider>,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<InForce, TlsError> {
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
    let facts = chain.first().and_then(|leaf| CertificateFacts::of(leaf));
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
    let ca_facts = ca_facts.and_then(|der| CertificateFacts::of(der));
    let resolver = Arc::new(SingleCertAndKey::from(certified));
    Ok(InForce {
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
fn doubts(path: &Path, facts: &CertificateFacts) -> Vec<String> {
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
