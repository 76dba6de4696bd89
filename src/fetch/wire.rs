//! The reqwest clients of one run, which of them may go where, and reqwest's errors in our words.

mod address;
mod resolve;

pub(super) use resolve::{Inward, Lookup};

use super::FetchOptions;
use super::error::FetchError;
use super::realm::{host_port, is_loopback};
use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue};
use reqwest::{Certificate, ClientBuilder, Identity, Proxy, Url, redirect};
use resolve::Resolver;
use std::any::Any;
use std::error::Error as _;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

/// Three pools of connections: through the environment's proxies and straight, both for what the operator named, and straight
/// to hosts that a server named. Connections of one pool never serve another.
pub(super) struct Wire {
    proxied: reqwest::Client,
    direct: reqwest::Client,
    guarded: reqwest::Client,
    proxies: Matcher,
    /// A proxy was named, for everything.
    has_proxy: bool,
    /// The registry, then the others.
    named: Vec<Named>,
}

impl Wire {
    /// The pools of a run with the registry `host`.
    pub(super) fn new(
        host: &str,
        options: &FetchOptions,
        lookup: &Lookup,
    ) -> Result<Self, FetchError> {
        let certificates = match &options.ca_pem {
            None => Vec::new(),
            Some(pem) => certificates(pem)?,
        };
        let identity = options.client_certificate.as_ref().map(identity);
        let identity = identity.transpose()?;
        let proxy = options.proxy.as_deref().map(proxy).transpose()?;
        let make = |proxied: bool, guarded: bool| {
            let start = || {
                let lookup = lookup.clone();
                let mut builder = builder(options).dns_resolver(Resolver { lookup, guarded });
                if let Some(identity) = identity.clone() {
                    builder = builder.identity(identity);
                }
                match proxy.clone() {
                    _ if !proxied => builder.no_proxy(),
                    Some(proxy) => builder.proxy(proxy),
                    None => builder,
                }
            };
            let failed = |e: reqwest::Error| {
                FetchError::Options(format!("no HTTP client can be made: {}", causes(&e)))
            };
            let is_plain = !options.insecure && identity.is_none();
            if let Some(tls) = options.tls.as_ref().filter(|_| is_plain) {
                return (tls.0)(start()).build().map_err(failed);
            }
            start()
                .tls_certs_merge(certificates.iter().cloned())
                .build()
                // An empty system store fails the build: what was given by hand must do then.
                .or_else(|_| start().tls_certs_only(certificates.iter().cloned()).build())
                .map_err(failed)
        };
        let hosts = options.extra_realm_hosts.iter().chain(&options.allow_hosts);
        let mut named = vec![Named::parse(host)?];
        for host in hosts {
            named.push(Named::parse(host)?);
        }
        Ok(Self {
            proxied: make(true, false)?,
            direct: make(false, false)?,
            guarded: make(false, true)?,
            // Reads what reqwest's clients read.
            proxies: Matcher::from_system(),
            has_proxy: proxy.is_some(),
            named,
        })
    }

    /// The pool for an address. Who is not named by the operator gets one that connects to nothing inward. `beside`: any port
    /// of the registry's own host will do.
    pub(super) fn client(&self, url: &Url, beside: bool) -> Result<&reqwest::Client, Inward> {
        let mut named = self.named.iter().enumerate();
        let is_named = named.any(|(n, named)| named.is(url, beside && n == 0));
        if !is_named {
            if let Some(refused) = literal(url).and_then(Inward::of) {
                return Err(refused);
            }
            if is_loopback(url) {
                let address = std::net::Ipv4Addr::LOCALHOST.into();
                return Inward::of(address).map_or(Ok(&self.guarded), Err);
            }
        }
        // Nothing of this machine goes through a proxy.
        Ok(if is_loopback(url) {
            &self.direct
        } else if is_named || self.is_proxied(url) {
            // A proxy looks names up itself, and it is the proxy's own rules that say where it may go.
            &self.proxied
        } else {
            &self.guarded
        })
    }

    fn is_proxied(&self, url: &Url) -> bool {
        let uri = url.as_str().parse::<http::Uri>();
        self.has_proxy || uri.is_ok_and(|uri| self.proxies.intercept(&uri).is_some())
    }
}

/// How TLS is spoken, made by whoever knows its certificates.
#[derive(Clone)]
pub struct TlsClient(Arc<dyn Fn(ClientBuilder) -> ClientBuilder + Send + Sync>);

impl TlsClient {
    /// By these settings, which must be of the TLS library that reqwest has: no client can be made with others.
    pub fn new<T: Any + Clone + Send + Sync>(settings: T) -> Self {
        let set = move |builder: ClientBuilder| builder.tls_backend_preconfigured(settings.clone());
        Self(Arc::new(set))
    }
}

impl fmt::Debug for TlsClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TlsClient")
    }
}

/// A host that the operator typed.
struct Named {
    host: String,
    /// As typed; none: the scheme's own.
    port: Option<u16>,
}

impl Named {
    /// `HOST` or `HOST:PORT`, IPv6 in brackets, in whatever spelling URLs know.
    fn parse(text: &str) -> Result<Self, FetchError> {
        let bad =
            || FetchError::Options(format!("\"{text}\" is no host name with an optional port"));
        let url: Url = format!("http://{text}/").parse().map_err(|_| bad())?;
        let host = url.host_str().ok_or_else(bad)?;
        let port = text
            .rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok());
        let is_plain = url.path() == "/" && url.query().is_none() && url.username().is_empty();
        is_plain.then_some(()).ok_or_else(bad)?;
        Ok(Self {
            host: host.trim_end_matches('.').to_owned(),
            // The end of an address in brackets is no port.
            port: port.filter(|_| !text.ends_with(']')),
        })
    }

    fn is(&self, url: &Url, any_port: bool) -> bool {
        let host = url.host_str().unwrap_or_default();
        let is_port = match self.port {
            Some(port) => url.port_or_known_default() == Some(port),
            None => url.port().is_none(),
        };
        host.trim_end_matches('.') == self.host && (is_port || any_port)
    }
}

/// The address that stands in a URL in place of a name. URLs have one spelling: `0x7f.1` is `127.0.0.1` in them.
pub(super) fn literal(url: &Url) -> Option<IpAddr> {
    url.host_str()?.trim_matches(['[', ']']).parse().ok()
}

fn builder(options: &FetchOptions) -> ClientBuilder {
    // Digests, lengths and ranges are of the plain bytes.
    let identity = (ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    reqwest::Client::builder()
        .default_headers(HeaderMap::from_iter([identity]))
        .redirect(redirect::Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .user_agent(options.user_agent.clone())
        .connect_timeout(options.connect_timeout)
        .read_timeout(options.read_timeout)
        .tls_danger_accept_invalid_certs(options.insecure)
        // Go servers and nginx send one large body faster over HTTP/1.1 connections of its own.
        .http1_only()
}

fn certificates(pem: &[u8]) -> Result<Vec<Certificate>, FetchError> {
    let list = Certificate::from_pem_bundle(pem).map_err(|e| {
        FetchError::Options(format!("the CA file is no PEM certificate: {}", causes(&e)))
    })?;
    if list.is_empty() {
        return Err(FetchError::Options(
            "the CA file holds no certificate (a block that starts with -----BEGIN CERTIFICATE-----)".to_owned(),
        ));
    }
    Ok(list)
}

/// Our certificate with its key.
fn identity(ours: &super::ClientCertificate) -> Result<Identity, FetchError> {
    let pem = [&ours.key[..], b"\n", &ours.chain].concat();
    Identity::from_pem(&pem).map_err(|e| {
        let why = causes(&e);
        FetchError::Options(format!(
            "the client certificate cannot be used: its files must hold a chain and its key in PEM ({why})"
        ))
    })
}

/// A proxy for everything. Its address is not told: it may hold a password.
fn proxy(address: &str) -> Result<Proxy, FetchError> {
    let bad = || {
        let text = "the proxy's address is none: it is http://HOST:PORT, https://HOST:PORT or socks5://HOST:PORT";
        FetchError::Options(text.to_owned())
    };
    let url: Url = address.parse().map_err(|_| bad())?;
    let is_known = matches!(url.scheme(), "http" | "https" | "socks5" | "socks5h");
    let is_known = is_known && url.host_str().is_some();
    is_known.then_some(()).ok_or_else(bad)?;
    Proxy::all(url).map_err(|_| bad())
}

/// A URL as it may be shown: without user, query and fragment.
pub(super) fn shown(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_port(url), url.path())
}

/// The causes of an error from the inside, without the URL that reqwest puts in front.
pub(super) fn causes(error: &reqwest::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        // hyper-util's own layer only names the phase, which the next cause tells better.
        let says_more = !text.starts_with("client error (") || cause.source().is_none();
        if says_more && parts.last().is_none_or(|last| !last.contains(&text)) {
            parts.push(text);
        }
        next = cause.source();
    }
    if parts.is_empty() {
        return if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            "the request failed".to_owned()
        };
    }
    parts.join(": ")
}

/// The address at which a host was not connected to, if that is why no answer came.
pub(super) fn refused(error: &reqwest::Error) -> Option<Inward> {
    let mut next = error.source();
    while let Some(cause) = next {
        if let Some(inward) = cause.downcast_ref::<Inward>() {
            return Some(inward.clone());
        }
        next = cause.source();
    }
    None
}

/// Whether the connection was closed before anything of an answer came, as one that was idle may be at any time.
pub(super) fn was_closed(error: &reqwest::Error) -> bool {
    if error.is_connect() || error.is_timeout() {
        return false;
    }
    let mut next = error.source();
    while let Some(cause) = next {
        let is_closed = match cause.downcast_ref::<hyper::Error>() {
            Some(e) => e.is_incomplete_message() || e.is_canceled() || e.is_closed(),
            None => cause.downcast_ref::<io::Error>().is_some_and(|e| {
                use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset};
                matches!(e.kind(), BrokenPipe | ConnectionAborted | ConnectionReset)
            }),
        };
        if is_closed {
            return true;
        }
        next = cause.source();
    }
    false
}

/// Why no answer came.
pub(super) fn no_answer(url: &Url, error: &reqwest::Error) -> FetchError {
    let why = causes(error);
    let lower = why.to_ascii_lowercase();
    // Alerts about ours: "CertificateRequired" of TLS 1.3.
    let is_ours = lower.contains("certificaterequired");
    if !is_ours && (lower.contains("certificate") || lower.contains("unknownissuer")) {
        // What `openssl req -x509` makes.
        let of_ca = lower.contains("causedasendentity");
        FetchError::Certificate {
            host: host_port(url),
            why: if of_ca {
                "it is the certificate of a CA itself, which is a server's only for who names this very one".to_owned()
            } else {
                why
            },
        }
    } else if url.scheme() == "https" && lower.contains("invalidcontenttype") {
        FetchError::NoTls {
            host: host_port(url),
            why: "what it answers is no TLS, as a server's answer in plain HTTP would be"
                .to_owned(),
        }
    } else {
        FetchError::Connect {
            url: shown(url),
            why: if is_ours {
                "it asks for a client certificate, and has none or another of us".to_owned()
            } else {
                why
            },
            is_silent: error.is_connect() && error.is_timeout(),
        }
    }
}
