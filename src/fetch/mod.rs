//! Outbound HTTP: one client for one registry host, with its challenges, tokens, proxies, redirects, retries and resumed
//! bodies. The only module that uses reqwest.
//!
//! Knows URLs, `Bearer`/`Basic` challenges and byte ranges; must know nothing of manifests, repositories or the store.
//! Credentials never appear in an error or a log line, nor does the query of a URL (signed links are secrets too).
//!
//! `login` has what other servers ask for before they answer, `requests` how requests go out. `peer` asks one upstream of a
//! cache on behalf of many who wait.

pub mod answers;
mod client;
pub mod coding;
mod error;
mod login;
mod outgoing;
pub mod peer;
mod requests;
pub mod unix;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

pub use client::{FetchClient, SmallAnswer};
pub use credentials::Credential;
pub use download::{Download, FetchSpan};
pub use error::{FetchError, FetchErrorKind};
pub use outgoing::{ClientCertificate, CredentialProvider};
pub use reqwest::header;
pub use retry::Retry;

pub use wire::TlsClient;

pub use login::{challenge, credentials};
use login::{realm, token};
use requests::{download, redirect, retry};
use std::time::Duration;

/// How one run talks to one registry.
#[derive(Clone)]
pub struct FetchOptions {
    /// Certificates (PEM, one or more) trusted beside the system's.
    pub ca_pem: Option<Vec<u8>>,
    /// How TLS is spoken where `ca_pem` is trusted; none: as reqwest does it with those certificates.
    pub tls: Option<TlsClient>,
    /// Take any certificate.
    pub insecure: bool,
    /// Talk plain HTTP. Loopback addresses and `localhost` fall back to it unasked, after HTTPS.
    pub plain_http: bool,
    /// What to log in with; `None` is anonymous.
    pub credentials: Option<Credential>,
    /// Where the credentials come from at each log-in, in place of `credentials`.
    pub provider: Option<CredentialProvider>,
    /// Token service hosts (`HOST` or `HOST:PORT`) that may get the credentials beside those of the registry's own domain.
    pub extra_realm_hosts: Vec<String>,
    /// Hosts (`HOST` or `HOST:PORT`) that the registry may lead to although they are at inward addresses: this machine's,
    /// link-local ones, unique-local ones.
    pub allow_hosts: Vec<String>,
    /// The proxy for everything but this machine, as `http://HOST:PORT` or `socks5://HOST:PORT`; `None`: what the environment
    /// says.
    pub proxy: Option<String>,
    /// What we show to a server that asks for a certificate. Where it is given, `tls` is not used, only `ca_pem`.
    pub client_certificate: Option<ClientCertificate>,
    /// The longest wait for a connection, with the look-up of its name and its TLS.
    pub connect_timeout: Duration,
    /// The longest wait for the first byte of an answer once there may be a connection; `None`: `read_timeout` alone counts.
    pub first_byte: Option<Duration>,
    /// The longest wait without a byte. There is no limit on a whole transfer.
    pub read_timeout: Duration,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// How often one request is tried, or a broken body taken up again without a byte of progress.
    pub tries: u32,
    /// The first wait between two tries; doubles each time.
    pub backoff: Duration,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            ca_pem: None,
            tls: None,
            insecure: false,
            plain_http: false,
            credentials: None,
            provider: None,
            extra_realm_hosts: Vec::new(),
            allow_hosts: Vec::new(),
            proxy: None,
            client_certificate: None,
            connect_timeout: Duration::from_secs(15),
            first_byte: None,
            read_timeout: Duration::from_mins(1),
            user_agent: concat!("dryport/", env!("CARGO_PKG_VERSION")).to_owned(),
            tries: 6,
            backoff: Duration::from_millis(500),
        }
    }
}
