//! Self-signed CA and leaf, reload; rustls, tokio-rustls, rcgen only here. STUB.
use std::path::PathBuf;
use std::sync::Arc;
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{0}")]
    Bad(String),
}
#[derive(Debug, Clone)]
pub struct TlsOptions {
    /// DIR/tls: ca.pem ca.key leaf.pem leaf.key
    pub dir: PathBuf,
    pub names: Vec<String>,
    /// own certificate chain and key
    pub own: Option<(PathBuf, PathBuf)>,
    /// prefer h2, allow it (http/1.1 first), off
    pub http2: Http2,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Http2 {
    Prefer,
    Allow,
    Off,
}
/// Certificates in force; cheap to clone.
#[derive(Clone)]
pub struct Tls {
    _i: Arc<()>,
}
impl Tls {
    /// Makes what is missing (CA, leaf), loads, checks.
    pub fn open(_o: TlsOptions) -> Result<Self, TlsError> {
        todo!()
    }
    /// Reads files again or renews if addresses changed or expiry is near; true if the certificate changed.
    pub fn refresh(&self) -> Result<bool, TlsError> {
        todo!()
    }
    /// CA certificate PEM; None with an own certificate.
    pub fn ca_pem(&self) -> Option<String> {
        todo!()
    }
    /// SHA-256 fingerprint AA:BB:.. of the CA (or of the own leaf).
    pub fn fingerprint(&self) -> String {
        todo!()
    }
    /// Names in the leaf.
    pub fn names(&self) -> Vec<String> {
        todo!()
    }
    /// TLS handshake; the stream and whether h2 was negotiated.
    pub async fn accept(&self, _tcp: tokio::net::TcpStream) -> std::io::Result<(TlsStream, bool)> {
        todo!()
    }
}
pub type TlsStream = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
/// Must be called first in main.
pub fn install_provider() {
    todo!()
}
/// A new P-256 key in PKCS#8 PEM (for tokens).
pub fn new_es256_key() -> Result<String, TlsError> {
    todo!()
}
