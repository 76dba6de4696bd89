//! One TLS handshake with another server, to see whether it can be trusted and how long that takes. Nothing is sent after it.

use super::outward::settings;
use rustls::pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Makes the handshake on a connection to `host` (a name or an address, without a port and brackets), trusting the machine's
/// authorities and the certificates of `ca_pem`. Answers the version of TLS.
///
/// # Errors
/// What the handshake failed by, for example a certificate that is not trusted.
pub async fn greet(stream: TcpStream, host: &str, ca_pem: Option<&[u8]>) -> io::Result<String> {
    let config = settings(ca_pem.unwrap_or_default())
        .ok_or_else(|| io::Error::other("no certificates to trust can be read on this machine"))?;
    let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
    let connected = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let version = connected.get_ref().1.protocol_version();
    Ok(version
        .and_then(|version| version.as_str())
        .unwrap_or("TLS")
        .replace("TLSv", "TLS ")
        .replace('_', "."))
}
