//! `server-trust`.

use crate::app::ops::{Ctx, Fault, FaultKind, Operation, Spec, Verb};
use crate::auth::Action;
use crate::config::Config;
use crate::tls::Tls;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};
use utoipa::ToSchema;

/// How clients come to trust this server.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServerTrust {}

/// Certificate and address of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TrustView {
    /// The CA certificate in PEM; none where the certificate is the operator's own.
    pub ca_pem: Option<String>,
    /// SHA-256 of the CA certificate, else of the operator's own: `AA:BB:...`.
    pub fingerprint: String,
    /// Names and addresses that the certificate holds for.
    pub names: Vec<String>,
    /// Host names (each with all under it) and networks that the CA may sign for; none: any.
    #[serde(default)]
    pub ca_permits: Option<Vec<String>>,
    /// `HOST:PORT` that clients type.
    pub host: String,
    /// All of this, and what to do with it, for people.
    pub text: String,
}

impl Operation for ServerTrust {
    type Reply = TrustView;

    const SPEC: Spec = Spec::new("server-trust", Verb::Read, "/trust", Action::ServerAdmin)
        .about("How clients come to trust this server: its certificate, names and address");

    async fn run(self, ctx: &Ctx) -> Result<TrustView, Fault> {
        let Some(tls) = &ctx.app.tls else {
            let text = "this server has no TLS listener, so there is nothing to trust";
            return Err(Fault::new(FaultKind::State, text));
        };
        Ok(trust_view(tls, &ctx.app.config.load()))
    }
}

/// Certificate and address for people, of a server with this configuration.
pub(in crate::app) fn trust_view(tls: &Tls, config: &Config) -> TrustView {
    let names = tls.names();
    let (host, port) = config.url.as_deref().and_then(host_of).unwrap_or_else(|| {
        let name = names
            .iter()
            .find(|n| n.as_str() != "localhost" && n.parse::<IpAddr>().is_err());
        let port = config.listen.https.first().map_or(8443, SocketAddr::port);
        (name.map_or("localhost", String::as_str).to_owned(), port)
    });
    TrustView {
        ca_pem: tls.ca_pem(),
        ca_permits: tls.ca_permits(),
        fingerprint: tls.fingerprint(),
        text: tls.trust_text(&host, port),
        host: format!("{host}:{port}"),
        names,
    }
}

/// Host and port of an `https` or `http` URL.
fn host_of(url: &str) -> Option<(String, u16)> {
    let url: http::Uri = url.parse().ok()?;
    let implied = if url.scheme_str()? == "http" { 80 } else { 443 };
    Some((url.host()?.to_owned(), url.port_u16().unwrap_or(implied)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_urls() {
        let host = |url| host_of(url).map(|(h, p)| format!("{h}:{p}"));
        assert_eq!(
            host("https://a.example:5000").as_deref(),
            Some("a.example:5000")
        );
        assert_eq!(host("https://a.example").as_deref(), Some("a.example:443"));
        assert_eq!(host("https://[::1]:8443").as_deref(), Some("[::1]:8443"));
        assert_eq!(host("nonsense"), None);
    }
}
