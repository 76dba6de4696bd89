//! Where a request really came from: peer address, scheme and host, through trusted proxies only.
//!
//! What a header says of it counts only if the connection comes from an address in `trusted_proxies`, and only one header
//! does, which `proxy_header` names: a proxy adds to one and passes the others on as its client sent them. Login delays,
//! limits, the log and the realm of challenges all go by this one answer.

mod forwarded;
#[cfg(test)]
mod tests;

use crate::config::{Network, ProxyHeader};
use axum::http::header::HOST;
use axum::http::{HeaderMap, Uri};
use forwarded::{Malformed, Node, ProxySaid};
use std::net::{IpAddr, SocketAddr};

/// Longest host and port that are taken for one, in bytes.
pub const HOST_MAX: usize = 300;

/// What the listener knows about a connection; stands in each request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Peer {
    /// The other end of the TCP connection.
    pub addr: SocketAddr,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Plain HTTP came to a port of HTTPS: every request is refused.
    pub astray: bool,
}

/// Who called, by which name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client's address; limits count it as [`crate::auth::net`] says.
    pub ip: IpAddr,
    /// `http` or `https`, as the client sees it.
    pub scheme: &'static str,
    /// Host and port as the client named them.
    pub host: String,
    /// The address is one through which many clients come: loopback, or a trusted proxy that names nobody behind it.
    pub gate: bool,
}

impl Caller {
    /// Reads peer and headers. `header` is the one that trusted proxies write.
    pub fn of(
        peer: Peer,
        headers: &HeaderMap,
        uri: &Uri,
        trusted: &[Network],
        header: ProxyHeader,
    ) -> Self {
        // RFC 9112 section 3.2.2: beside a host in the request's target, the header does not count.
        let target = uri.authority().map(axum::http::uri::Authority::as_str);
        let target = target.map(|name| name.rsplit_once('@').map_or(name, |(_, host)| host));
        let own = target.or_else(|| headers.get(HOST).and_then(|v| v.to_str().ok()));
        let ip = peer.addr.ip().to_canonical();
        let through = is_trusted(ip, trusted);
        let mut caller = Self {
            ip,
            scheme: if peer.tls { "https" } else { "http" },
            host: own.filter(|h| is_host(h)).unwrap_or("localhost").to_owned(),
            gate: through || ip.is_loopback(),
        };
        match header {
            _ if !through => {}
            ProxyHeader::None => {}
            ProxyHeader::Forwarded => caller.follow(forwarded::forwarded(headers), trusted),
            ProxyHeader::XForwardedFor => caller.follow(forwarded::x_forwarded(headers), trusted),
        }
        caller
    }

    /// From the nearest proxy outwards: the first address that is not one of ours is the client, and what the proxy that it
    /// called said of scheme and host counts. Each element is believed because the one before it names a trusted proxy.
    fn follow(
        &mut self,
        elements: impl Iterator<Item = Result<ProxySaid, Malformed>>,
        trusted: &[Network],
    ) {
        for said in elements {
            let Ok(said) = said else {
                // It may be a client's doing: it is counted, at the last address that is known.
                self.gate = false;
                return;
            };
            if let Some(scheme) = said.scheme {
                self.scheme = scheme;
            }
            if let Some(host) = said.host {
                self.host = host;
            }
            let Node::Address(ip) = said.node else {
                return;
            };
            self.ip = ip;
            if !is_trusted(ip, trusted) {
                self.gate = ip.is_loopback();
                return;
            }
        }
    }

    /// The host without its port: the name of the token service.
    pub fn service(&self) -> &str {
        host_part(&self.host)
    }
}

/// Whether somebody in between says, in whatever header, that the request was forwarded; trusted or not.
pub fn was_forwarded(headers: &HeaderMap) -> bool {
    const SIGNS: [&str; 9] = [
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "client-ip",
        "true-client-ip",
        "cf-connecting-ip",
        "x-cluster-client-ip",
        "x-envoy-external-address",
    ];
    let says = |name: &str| {
        SIGNS.contains(&name) || name.starts_with("x-forwarded") || name.starts_with("x-original-")
    };
    headers.keys().any(|name| says(name.as_str()))
}

/// The host of `host[:port]`; an IPv6 address keeps its brackets.
pub fn host_part(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !name.is_empty() => name,
        _ => host,
    }
}

/// Whether these bytes can stand in a `Host` header (RFC 9110 section 7.2): nothing, or a host of RFC 3986 with an optional
/// port, of at most [`HOST_MAX`] bytes.
pub fn is_host_and_port(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return false;
    };
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port),
        _ => (text, ""),
    };
    let literal = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
    let is_host = match literal {
        // The zone is the client's own affair: RFC 6874 had it behind `%25`, clients (Python's) also send it was typed.
        Some(inside) => {
            let (address, zone) = inside.split_once('%').unwrap_or((inside, "-"));
            let zone = zone
                .strip_prefix("25")
                .filter(|z| !z.is_empty())
                .unwrap_or(zone);
            let is_zone = !zone.is_empty() && zone.bytes().all(is_unreserved);
            is_zone && address.parse::<std::net::Ipv6Addr>().is_ok()
        }
        None => is_name(host) && (text.is_empty() || !host.is_empty()),
    };
    text.len() <= HOST_MAX && is_host && port.bytes().all(|b| b.is_ascii_digit())
}

/// `reg-name` of RFC 3986 section 3.2.2, which an IPv4 address is one of.
fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        let good = match byte {
            b'%' => [bytes.next(), bytes.next()]
                .iter()
                .all(|b| b.is_some_and(|b| b.is_ascii_hexdigit())),
            byte => is_unreserved(byte) || b"!$&'()*+,;=".contains(&byte),
        };
        if !good {
            return false;
        }
    }
    true
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}

/// Letters that may stand in a host and port, so that it can go into a header unquoted.
fn is_host(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= HOST_MAX
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b".-_:[]".contains(&b))
}

/// Whether `ip` is one of the addresses or networks.
pub fn is_trusted(ip: IpAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|net| net.contains(ip))
}
